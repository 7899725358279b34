"""A run and what becomes of it while it waits, runs, and is stopped."""

from __future__ import annotations

import contextvars
from concurrent.futures import Future
from dataclasses import replace

from worker.engine.graph_run import GraphRun, RunResult
from worker.errors import JobInterrupted, WorkerError


class Turn:
    """A run in the queue: its future, and whether and why it was told to stop.

    ``started``, and ``interrupted_at``, which is None while it may go on: by ``time.monotonic``.
    """

    def __init__(self, run: GraphRun) -> None:
        self.run = run
        self.future: Future[RunResult] = Future()
        self.context = contextvars.copy_context()  # The job's, so that log lines know whose they are.
        self.started = 0.0
        self.interrupted_at: float | None = None
        self.ending: WorkerError | None = None

    @property
    def interrupted(self) -> bool:
        """Whether it was told to stop."""
        return self.interrupted_at is not None

    def ended(self, result: RunResult) -> RunResult:
        """``result`` with the reason why it was told to stop, unless it had come to its end by then."""
        if self.ending is None or result.status == "success":
            return result
        others = tuple(line for line in result.errors if line != str(JobInterrupted()))
        return replace(result, error=self.ending, errors=(*others, str(self.ending)))
