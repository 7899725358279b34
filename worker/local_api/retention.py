"""Keeps jobs until their time is up, or until there are too many results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from worker.local_api.job import LocalJob

_MAX_RESULTS = 10_000


class KeptJobs:
    """Jobs by their ids, each until it is forgotten. Use it on one event loop.

    Args:
        max_result_bytes: largest size of all results together. The newest result is kept even if it is larger.
        on_expiry: called with a job whose time is up, before it is forgotten.
    """

    def __init__(self, max_result_bytes: float, on_expiry: Callable[[LocalJob], None]) -> None:
        self._max_result_bytes = max_result_bytes
        self._on_expiry = on_expiry
        self._jobs: dict[str, LocalJob] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._result_sizes: dict[str, int] = {}  # Of ended jobs, the oldest first.
        self._result_bytes = 0

    def get(self, job_id: str) -> LocalJob | None:
        """The job; None if there is no job with this id, or it is no longer kept."""
        return self._jobs.get(job_id)

    def all(self) -> list[LocalJob]:
        """Every job, the oldest first."""
        return list(self._jobs.values())

    def keep(self, job: LocalJob, seconds: float) -> None:
        """Keep ``job`` for ``seconds`` from now on. This replaces its earlier time."""
        self._jobs[job.id] = job
        self._stop_timer(job)
        self._timers[job.id] = asyncio.get_running_loop().call_later(seconds, self._expire, job)

    def keep_result(self, job: LocalJob) -> None:
        """Keep ``job``, which has ended, for its ``kept_s``. The oldest results are dropped if there are too many."""
        self.keep(job, job.kept_s)
        self._result_sizes[job.id] = size = len(job.reply.output) if job.reply else 0
        self._result_bytes += size
        while len(self._result_sizes) > 1 and (
            self._result_bytes > self._max_result_bytes or len(self._result_sizes) > _MAX_RESULTS
        ):
            self._forget(self._jobs[next(iter(self._result_sizes))])

    def close(self) -> None:
        """Stop all timers."""
        for job in self.all():
            self._stop_timer(job)

    def _expire(self, job: LocalJob) -> None:
        self._on_expiry(job)
        self._forget(job)

    def _forget(self, job: LocalJob) -> None:
        self._stop_timer(job)
        self._jobs.pop(job.id, None)
        self._result_bytes -= self._result_sizes.pop(job.id, 0)

    def _stop_timer(self, job: LocalJob) -> None:
        timer = self._timers.pop(job.id, None)
        if timer is not None:
            timer.cancel()
