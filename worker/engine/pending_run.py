"""A run on its way: what is needed to stop it, or to turn its outcome into a ``Result``."""

from __future__ import annotations

import time
from concurrent.futures import Future

from worker.answer.outputs import collect
from worker.answer.result import Result
from worker.engine.graph_run import Backend, GraphRun, RunResult


class PendingRun:
    """Submits ``run`` to ``backend``. ``start``: when the job began, by ``time.perf_counter``."""

    def __init__(self, run: GraphRun, backend: Backend, start: float) -> None:
        self._run = run
        self._backend = backend
        self._start = start
        self._staged = time.perf_counter()
        self.future: Future[RunResult] = backend.submit(run)

    def stop(self) -> None:
        """Interrupt the run, wait until it has stopped, however it ended, and remove its files."""
        self._backend.interrupt(self._run)
        self.future.exception()
        self.discard()

    def discard(self) -> None:
        """Remove the job's files now: nobody gets a result."""
        self._run.workspace.close()

    def finish(self, outcome: RunResult) -> Result:
        """The result, with its files."""
        ended = time.perf_counter()
        collected = collect(outcome, self._run.workspace)
        seconds = {
            "stage": self._staged - self._start,
            "run": ended - self._staged,
            "collect": time.perf_counter() - ended,
        }
        errors = (*outcome.errors, *collected.errors)
        return Result(
            outcome.status, collected.artifacts, collected.texts, errors, seconds, self._run.workspace, outcome.error
        )
