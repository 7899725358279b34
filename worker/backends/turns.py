"""One run after the other, on one thread: the part that both backends share."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

from worker.errors import BackendFailed, JobInterrupted, WorkerError
from worker.graph_run import GraphRun, RunResult

_log = logging.getLogger("worker")
_MOST_TURNS_WITHOUT_REST = 20
_STUCK_S = 15  # For a node that was interrupted and does not stop.


class Turn:
    """A run in the queue: its future, and whether it was told to stop."""

    def __init__(self, run: GraphRun) -> None:
        self.run = run
        self.future: Future[RunResult] = Future()
        self.context = contextvars.copy_context()  # The job's, so that log lines know whose they are.
        self.interrupted = False


class Turns:
    """Gives each run its turn, on a thread of its own.

    Args:
        name: the thread's.
        perform: runs one. It raises what the run's future shall raise; what is no WorkerError becomes BackendFailed.
        interrupt: the current turn was told to stop. Called on any thread, briefly.
        rest: called when a turn's answer is out, and nobody has come within ``rest_after_s`` seconds, or 20 have.
        stuck: what ``close`` says of a turn that does not stop.
    """

    def __init__(
        self,
        name: str,
        perform: Callable[[Turn], RunResult],
        interrupt: Callable[[], None] = lambda: None,
        rest: Callable[[], None] = lambda: None,
        rest_after_s: float = 0.0,
        stuck: str = f"A node did not stop within {_STUCK_S} s; this process cannot run another job",
    ) -> None:
        self._name, self._stuck = name, stuck
        self._perform, self._interrupt, self._rest = perform, interrupt, rest
        self._rest_after_s, self._since_rest = rest_after_s, 0
        self._turns: queue.SimpleQueue[Turn | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: dict[GraphRun, Turn] = {}
        self.current: Turn | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, run: GraphRun) -> Future[RunResult]:
        """As ``Backend.submit``."""
        turn = Turn(run)
        with self._lock:
            if self._closed:
                raise BackendFailed("The worker is closed", fatal=True)
            self._waiting[run] = turn
            self._turns.put(turn)
        return turn.future

    def interrupt(self, run: GraphRun) -> None:
        """As ``Backend.interrupt``."""
        with self._lock:
            turn = self._waiting.pop(run, None)
            if turn is None and self.current is not None and self.current.run is run:
                self.current.interrupted = True
                self._interrupt()
        if turn is not None:
            turn.future.set_exception(JobInterrupted())

    def close(self) -> None:
        """As ``Backend.close``.

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
        self._thread.join(timeout=_STUCK_S)
        if self._thread.is_alive():
            raise BackendFailed(self._stuck, fatal=True)

    def _work(self) -> None:
        while (turn := self._next()) is not None:
            with self._lock:
                if self._waiting.pop(turn.run, None) is None:
                    continue  # It was interrupted while it waited.
                self.current = turn
            turn.context.run(self._answer, turn)
            del turn  # The job's files go with the last who knows it, not when the next job comes.
            self._since_rest += 1

    def _next(self) -> Turn | None:
        """Wait for a turn, and rest meanwhile; None at the end."""
        if self._rest_after_s and 0 < self._since_rest < _MOST_TURNS_WITHOUT_REST:
            with contextlib.suppress(queue.Empty):
                return self._turns.get(timeout=self._rest_after_s)
        if self._since_rest:
            self._since_rest = 0
            try:
                self._rest()
            except Exception:  # noqa: BLE001 - the thread must go on: others wait for their turn.
                _log.exception("Tidying up after a job failed (%s)", self._name)
        return self._turns.get()

    def _answer(self, turn: Turn) -> None:
        result: RunResult | None = None
        error: BaseException | None = None
        try:
            result = self._perform(turn)
        except WorkerError as expected:
            error = expected
        except Exception as unexpected:  # noqa: BLE001 - whatever it is, somebody waits for an answer.
            _log.exception("The backend failed (%s)", self._name)
            error = BackendFailed(f"Internal error: {type(unexpected).__name__}", fatal=False)
        with self._lock:
            self.current = None
        if result is not None:
            turn.future.set_result(result)
        else:
            turn.future.set_exception(error or JobInterrupted())
