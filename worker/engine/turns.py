"""The queue of both backends: performs one run after the other, on one thread."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from worker.engine.freeze import FreezeWatch
from worker.engine.graph_run import GraphRun, RunResult
from worker.engine.life import Life
from worker.engine.time_limits import Patience, Signs, Watchdog
from worker.engine.turn import Turn
from worker.errors import BackendFailed, JobInterrupted, WorkerDefunct, WorkerError
from worker.receipt.current import enter

_log = logging.getLogger("worker")
_MOST_TURNS_WITHOUT_REST = 20
_IDLE_AFTER_S = 1.0  # A job that comes while something is done waits for its end.


class Turns:
    """Gives each run its turn, on a thread of its own.

    Args:
        name: the thread's name.
        perform: runs a turn. What it raises becomes the future's exception; an error that is no WorkerError becomes
            BackendFailed.
        interrupt: stops the current turn, given the seconds since it was first told to stop. It is called on any thread
            and must return at once.
        rest: tidies up. It is called after a turn, if no other turn comes within ``rest_after_s`` seconds, and at the
            latest after 20 turns.
        make_ready: called before a turn's time begins, in its context. What it raises is logged.
        idle: does a part of what can be done while no turn comes, and returns whether there is more.
        patience: how long a turn may show no sign of life, and how long it may take to stop.
        signs: what is seen of the current turn from outside.
        salvage: returns what a turn has finished, if that turn does not stop.
        life: becomes defunct when a turn does not stop, since this process cannot run another one then.
        stuck: the text about a turn that does not stop.
        freeze: ends the process if a turn does not end, and nothing else can run.
    """

    def __init__(
        self,
        name: str,
        perform: Callable[[Turn], RunResult],
        interrupt: Callable[[float], None] = lambda _: None,
        rest: Callable[[], None] = lambda: None,
        rest_after_s: float = 0.0,
        make_ready: Callable[[Turn], None] = lambda _: None,
        idle: Callable[[], bool] = lambda: False,
        patience: Patience | None = None,
        signs: Signs | None = None,
        salvage: Callable[[Turn], RunResult | None] = lambda _: None,
        life: Life | None = None,
        stuck: str = "A node does not stop",
        freeze: FreezeWatch | None = None,
    ) -> None:
        self._name, self._stuck = name, stuck
        self._life = life or Life()
        self._patience = patience or Patience()
        self._watchdog = Watchdog(self._patience, signs or Signs(), self._interrupt_again, self._abandon, freeze)
        self._salvage = salvage
        self._retired = False
        self._perform, self._interrupt, self._rest = perform, interrupt, rest
        self._rest_after_s, self._since_rest = rest_after_s, 0
        self._make_ready, self._idle = make_ready, idle
        self._turns: queue.SimpleQueue[Turn | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: dict[GraphRun, Turn] = {}
        self.current: Turn | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def thread_id(self) -> int | None:
        """The thread's id as the system knows it; None until it has started."""
        return self._thread.native_id

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, run: GraphRun) -> Future[RunResult]:
        """See ``Backend.submit``."""
        turn = Turn(run)
        with self._lock:
            if self._retired:
                raise WorkerDefunct
            if self._closed:
                raise BackendFailed("The worker is closed")
            self._waiting[run] = turn
            self._turns.put(turn)
        return turn.future

    def interrupt(self, run: GraphRun) -> None:
        """See ``Backend.interrupt``."""
        with self._lock:
            turn = self._waiting.pop(run, None)
            if turn is None and self.current is not None and self.current.run is run:
                self._stop_current()
        if turn is not None:
            turn.future.set_exception(JobInterrupted())

    def graph_ended(self) -> None:
        """Note that the current turn only brings its files now, which no limit of time should cost."""
        self._watchdog.end()

    def _stop_current(self) -> None:
        if self.current is not None:
            now = time.monotonic()
            if self.current.interrupted_at is None:
                self.current.interrupted_at = now
            self._interrupt(now - self.current.interrupted_at)
            self._watchdog.hastened()

    def doubt(self, error: WorkerError | None) -> None:
        """Answer the current run with ``error`` if it has not ended soon; None: let it go on as before."""
        with self._lock:
            turn = self.current
            if turn is not None:
                turn.be_doubted(error)
                self._watchdog.hastened()

    def _interrupt_again(self, turn: Turn) -> None:
        with self._lock:
            if self.current is turn:
                self._stop_current()

    def retire(self, reason: str, *, of_device: bool = False) -> None:
        """Begin no other run. Runs that wait get WorkerDefunct."""
        with self._lock:
            if self._retired:
                return
            self._retired = True
            waiting = list(self._waiting.values())
            self._waiting.clear()
        self._life.fail(reason, of_device=of_device)
        for turn in waiting:
            turn.future.set_exception(WorkerDefunct())

    def _abandon(self, turn: Turn) -> None:
        """Answer a turn that does not stop. It keeps the thread busy, so this process can run nothing more."""
        with self._lock:
            if self.current is not turn or turn.future.done():
                return
        waited_s = time.monotonic() - (turn.interrupted_at or turn.started)
        if turn.doubt is not None:
            turn.ending = turn.doubt
            self.retire(f"the CUDA device is broken, and a call to it does not return: {turn.doubt}", of_device=True)
        else:
            self.retire(f"{self._stuck} ({waited_s:.0f} s after its interrupt)")
        try:
            result = turn.context.copy().run(self._salvage, turn)
        except Exception:  # noqa: BLE001 - a caller waits for an answer.
            _log.exception("What a stuck job had finished cannot be saved")
            result = None
        turn.settle(result, turn.ending or JobInterrupted())
        self._watchdog.end()

    def close(self) -> None:
        """See ``Backend.close``.

        Raises:
            BackendFailed: a node does not stop.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            runs = [*self._waiting, *([self.current.run] if self.current else [])]
        for run in runs:
            self.interrupt(run)
        self._turns.put(None)
        if self._retired:  # The thread may never end. Why is logged, and all runs have their answer.
            return
        self._thread.join(timeout=self._patience.grace_s + 5)
        self._watchdog.close()
        if self._thread.is_alive():
            raise BackendFailed(f"{self._stuck}; this process cannot run another job")

    def _work(self) -> None:
        while (turn := self._next()) is not None:
            with self._lock:
                if self._waiting.pop(turn.run, None) is None:
                    continue  # It was interrupted while it waited.
                self.current = turn
            turn.context.run(self._prepare, turn)
            self._watchdog.begin(turn)
            turn.context.run(self._answer, turn)
            if self._retired:
                return
            del turn  # Otherwise the job's files would be kept until the next job comes.
            self._since_rest += 1

    def _prepare(self, turn: Turn) -> None:
        """Do what belongs to no run's time. A run that is stopped meanwhile has its time to end from now on."""
        enter("validation")
        try:
            self._make_ready(turn)
        except Exception:  # noqa: BLE001 - the run itself says what it lacks.
            _log.exception("A job could not be prepared (%s)", self._name)
        with self._lock:
            turn.started = time.monotonic()
            if turn.interrupted:
                turn.interrupted_at = turn.started

    def _next(self) -> Turn | None:
        """Wait for the next turn, and rest if none comes. None: the thread should end."""
        if self._rest_after_s and 0 < self._since_rest < _MOST_TURNS_WITHOUT_REST:
            with contextlib.suppress(queue.Empty):
                return self._turns.get(timeout=self._rest_after_s)
        if self._since_rest:
            self._since_rest = 0
            try:
                self._rest()
            except Exception:  # noqa: BLE001 - the thread must go on for the next turns.
                _log.exception("Tidying up after a job failed (%s)", self._name)
        return self._next_after_idling()

    def _next_after_idling(self) -> Turn | None:
        """Wait for the next turn. While none comes, do what can be done meanwhile."""
        has_more, wait_s = True, _IDLE_AFTER_S
        while has_more:
            try:
                return self._turns.get(timeout=wait_s)
            except queue.Empty:
                has_more, wait_s = self._idle(), 0.01
        return self._turns.get()

    def _answer(self, turn: Turn) -> None:
        result: RunResult | None = None
        error: BaseException | None = None
        try:
            result = self._perform(turn)
        except WorkerError as expected:
            error = expected
        except Exception as unexpected:  # noqa: BLE001 - a caller waits for an answer.
            _log.exception("The backend failed (%s)", self._name)
            error = BackendFailed(f"Internal error: {type(unexpected).__name__}")
        with self._lock:
            self.current = None
        self._watchdog.end()
        if turn.ending is not None and isinstance(error, JobInterrupted):
            error = turn.ending
        turn.settle(result, error or JobInterrupted())
