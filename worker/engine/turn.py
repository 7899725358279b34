"""A run in the queue: it waits, runs, and may be told to stop."""

from __future__ import annotations

import contextvars
from concurrent.futures import Future
from dataclasses import replace

from worker.engine.graph_run import GraphRun, RunResult
from worker.errors import JobInterrupted, WorkerError


class Turn:
    """A run in the queue.

    Attributes:
        run: what is run.
        future: its result.
        context: the job's context variables, so that log lines carry the job's id.
        started: when its turn began, by ``time.monotonic``.
        interrupted_at: when it was told to stop, by ``time.monotonic``; None while it may go on.
        ending: why it was told to stop, if that was not its caller's wish.
    """

    def __init__(self, run: GraphRun) -> None:
        self.run = run
        self.future: Future[RunResult] = Future()
        self.context = contextvars.copy_context()
        self.started = 0.0
        self.interrupted_at: float | None = None
        self.ending: WorkerError | None = None

    @property
    def interrupted(self) -> bool:
        """Whether it was told to stop."""
        return self.interrupted_at is not None

    def with_ending(self, result: RunResult) -> RunResult:
        """``result`` with the reason why it was told to stop; unchanged if it came to its end before that."""
        if self.ending is None or result.status == "success":
            return result
        others = tuple(line for line in result.errors if line != str(JobInterrupted()))
        return replace(result, error=self.ending, errors=(*others, str(self.ending)))
