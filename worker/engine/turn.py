"""``Turn``: a run in the queue, which waits, runs, and may be told to stop."""

from __future__ import annotations

import contextlib
import contextvars
import time
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace

from worker.engine.graph_run import GraphRun, RunResult
from worker.errors import JobInterrupted, WorkerError

_DOUBT_S = 5.0  # How long a run may go on when the device may be broken. What works then takes milliseconds.


class Turn:
    """A run in the queue.

    Attributes:
        run: the run itself.
        future: gets the run's result.
        context: the job's context variables, so that log lines carry the job's id.
        started: when the turn began, by ``time.monotonic``; 0 before.
        interrupted_at: when the run was told to stop, by ``time.monotonic``; None if it was not.
        ending: the error of the time limit that stopped the run; None if no limit did.
        gives_up_at: when the run is answered with ``doubt`` if it has not ended, by ``time.monotonic``; None: not so.
        doubt: the error of a run after which the device may be broken; None if nothing has said so.
    """

    def __init__(self, run: GraphRun) -> None:
        self.run = run
        self.future: Future[RunResult] = Future()
        self.context = contextvars.copy_context()
        self.started = 0.0
        self.interrupted_at: float | None = None
        self.ending: WorkerError | None = None
        self.gives_up_at: float | None = None
        self.doubt: WorkerError | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the run was told to stop."""
        return self.interrupted_at is not None

    def be_doubted(self, error: WorkerError | None) -> None:
        """Note that the device may be broken, which is ``error``; None: it is not."""
        self.gives_up_at = None if error is None else self.gives_up_at or time.monotonic() + _DOUBT_S
        self.doubt = error

    def settle(self, result: RunResult | None, error: BaseException) -> None:
        """Answer with ``result``, or with ``error`` if there is none. Only the first answer counts."""
        with contextlib.suppress(InvalidStateError):
            if result is not None:
                self.future.set_result(self.with_ending(result))
            else:
                self.future.set_exception(error)

    def with_ending(self, result: RunResult) -> RunResult:
        """``result`` with the error of the limit that stopped the run; unchanged if the run was complete before."""
        if self.ending is None or result.status == "success":
            return result
        others = tuple(line for line in result.errors if line not in (str(JobInterrupted()), str(self.ending)))
        return replace(result, error=self.ending, errors=(*others, str(self.ending)))
