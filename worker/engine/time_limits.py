"""Ends a run that takes too long, takes too much memory or hangs, and gives up on one that does not stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from worker.engine.freeze import FreezeWatch
from worker.engine.turn import Turn
from worker.errors import JobStalled, JobTimedOut, WorkerError

_LOOK_S = 0.1
_AGAIN_S = 1.0  # Interrupt again after this time, since a node may swallow an interrupt.


@dataclass(frozen=True)
class Patience:
    """Limits for every run, in seconds.

    ``stall_s``: how long it may show no sign of life; 0: no limit. ``page_wait_s``: the same for a node that waits for
    a person. ``grace_s``: how long it may take to end after an interrupt.
    """

    stall_s: float = 0.0
    page_wait_s: float = 0.0
    grace_s: float = 10.0


class MemoryWatch(Protocol):
    """Tells whether the current run takes too much memory."""

    def exceeded(self) -> WorkerError | None:
        """The error of a run that must be stopped; None if it need not."""

    def is_nearly_out(self) -> bool:
        """Whether the run goes on to take memory although it was stopped, so that its answer cannot wait."""


@dataclass(frozen=True)
class Signs:
    """What is seen of the current run from outside.

    ``moves``: returns whether it has shown a sign of life since the last call. ``waits``: returns the error of a run
    that waits for a person; None if it waits for something else. ``memory``: tells whether it takes too much memory;
    None if nobody looks at that.
    """

    moves: Callable[[], bool] = lambda: True
    waits: Callable[[Turn], WorkerError | None] = lambda _: None
    memory: MemoryWatch | None = None


class Watchdog:
    """Watches one run at a time, on a thread of its own. The thread sleeps while there is nothing to watch.

    Args:
        patience: the limits for every run.
        signs: what is seen of the run.
        interrupt: tells the run to stop. It is called once a second, since a node may swallow an interrupt.
        abandon: called when the run does not stop.
        freeze: is told when the run must have ended, since this watchdog cannot run if the run holds Python's lock.
    """

    def __init__(
        self,
        patience: Patience,
        signs: Signs,
        interrupt: Callable[[Turn], None],
        abandon: Callable[[Turn], None],
        freeze: FreezeWatch | None = None,
    ) -> None:
        self._patience, self._signs = patience, signs
        self._interrupt, self._abandon = interrupt, abandon
        self._freeze, self._memory = freeze or FreezeWatch(), signs.memory
        self._turn: Turn | None = None
        self._moved_at = 0.0
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def begin(self, turn: Turn) -> None:
        """Watch ``turn`` from now on."""
        self._moved_at = turn.started
        self._turn = turn  # Set last, since the thread looks at the turn from now on.
        patience = self._patience
        if turn.run.time_limit or patience.stall_s or patience.page_wait_s or self._memory is not None:
            self._rouse()
        self._freeze.job_ends_by(self._latest_end())

    def hastened(self) -> None:
        """Note that the time at which the run must have ended has changed, since it was told to stop, or is in doubt.

        A run that does not stop is interrupted again, and then abandoned.
        """
        if self._turn is not None:
            self._freeze.end_soon(soon=self._turn.doubt is not None)
        self._freeze.job_ends_by(self._latest_end())
        self._rouse()

    def end(self) -> None:
        """Stop watching, since the run has ended."""
        self._turn = None
        self._freeze.job_ends_by(None)

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._wake.set()

    def _latest_end(self) -> float | None:
        """When the run must have ended, by ``time.monotonic``; None if there is no limit."""
        turn, grace_s = self._turn, self._patience.grace_s
        if turn is None:
            return None
        if turn.gives_up_at is not None:
            return turn.gives_up_at
        if turn.interrupted_at is not None:
            return turn.interrupted_at + grace_s
        limit = turn.run.time_limit
        return None if limit is None else turn.started + limit.seconds + grace_s

    def _rouse(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        self._wake.set()

    def _watch(self) -> None:
        while not self._closed:
            self._wake.wait()
            turn = self._turn
            if turn is None:
                self._wake.clear()
                if self._turn is not None:  # A turn has begun meanwhile, and its wake-up was cleared.
                    self._wake.set()
            else:
                with contextlib.suppress(MemoryError):  # The run may have taken all that there is. This thread goes on.
                    self._look(turn, time.monotonic())
            time.sleep(_LOOK_S)

    def _look(self, turn: Turn, now: float) -> None:
        grace_s = self._patience.grace_s
        if turn.gives_up_at is not None:  # Nothing else is looked at, since that might ask the device.
            if now >= turn.gives_up_at:
                self._abandon(turn)
            return
        if turn.interrupted_at is not None:
            if now - turn.interrupted_at > grace_s or (self._memory is not None and self._memory.is_nearly_out()):
                self._abandon(turn)
            elif (now - turn.interrupted_at) % _AGAIN_S < _LOOK_S:
                self._interrupt(turn)
            return
        limit = turn.run.time_limit
        too_large = self._memory.exceeded() if self._memory is not None else None
        if too_large is not None:
            self._stop(turn, too_large)
        elif limit is not None and now - turn.started >= limit.seconds:
            self._stop(turn, JobTimedOut(limit.seconds, limit.source))
        elif self._patience.stall_s or self._patience.page_wait_s:
            self._look_for_life(turn, now)

    def _look_for_life(self, turn: Turn, now: float) -> None:
        if self._signs.moves():
            self._moved_at = now
            return
        stall_s, page_wait_s = self._patience.stall_s, self._patience.page_wait_s
        still_s = now - max(self._moved_at, turn.started)  # ``_moved_at`` may be of the turn before.
        if page_wait_s and still_s >= page_wait_s and (ending := self._signs.waits(turn)) is not None:
            self._stop(turn, ending)
        elif stall_s and still_s >= stall_s:
            self._stop(turn, JobStalled(stall_s))

    def _stop(self, turn: Turn, ending: WorkerError) -> None:
        turn.ending = ending
        self._interrupt(turn)
