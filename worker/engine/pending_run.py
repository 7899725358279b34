"""A run on its way: stop it, or wait for what it produces."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import replace

from worker.engine.graph_run import Backend, GraphRun, RunResult


class PendingRun:
    """Submits ``run`` to ``backend``. ``began``: when the job began, by ``time.perf_counter``."""

    def __init__(self, run: GraphRun, backend: Backend, began: float) -> None:
        self._run = run
        self._backend = backend
        self._submitted = time.perf_counter()
        self._stage_s = self._submitted - began
        self.future: Future[RunResult] = backend.submit(run)

    def timed(self, result: RunResult) -> RunResult:
        """``result``, which has just come, with the seconds of ``stage`` and ``run`` (with the wait for its turn)."""
        return replace(result, seconds={"stage": self._stage_s, "run": time.perf_counter() - self._submitted})

    def stop(self) -> None:
        """Interrupt the run, wait until it has ended in whatever way, and remove its files."""
        self._backend.interrupt(self._run)
        self.future.exception()
        self.discard()

    def discard(self) -> None:
        """Remove the job's files now: nobody gets a result."""
        self._run.workspace.close()
