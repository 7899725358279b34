"""Keeps one task for each job that this worker has taken, until the job ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any

from worker.runpod.sdk import JobsProgress

_log = logging.getLogger("worker")

_STUCK_S = 5.0  # How long a worker that leaves waits for jobs that were stopped and do not end.


class RunningJobs:
    """One task for each job, by the job's id.

    The ids are also in the SDK's ``JobsProgress``: each heartbeat names them, and each request for jobs says whether
    there are any.

    Args:
        capacity: how many jobs may run at once.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped: set[str] = set()
        self._one_ended = asyncio.Event()
        self._named_to_platform = JobsProgress()

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def room(self) -> int:
        """How many more jobs may begin."""
        return self._capacity - len(self._tasks)

    async def until_room(self) -> None:
        """Wait until another job may begin."""
        while self.room <= 0:
            self._one_ended.clear()
            await self._one_ended.wait()

    def begin(self, job_id: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` as the task of a job. When the task ends, the job is removed from here."""
        task = asyncio.create_task(work)
        self._tasks[job_id] = task
        self._named_to_platform.add(job_id)
        task.add_done_callback(partial(self._end, job_id))
        return task

    def stop(self, job_id: str) -> bool:
        """Cancel the task of a job. False: there is no such job, or it was stopped before."""
        if job_id not in self._tasks or job_id in self._stopped:
            return False
        self._stopped.add(job_id)
        self._tasks[job_id].cancel()
        return True

    async def all_ended(self) -> bool:
        """Wait until no job runs. False if jobs remain that were stopped and did not end within five seconds."""
        while self._tasks:
            all_stopped = self._stopped.issuperset(self._tasks)
            _, left = await asyncio.wait(self._tasks.values(), timeout=_STUCK_S if all_stopped else 1.0)
            if left and all_stopped:
                return False
        return True

    def _end(self, job_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[job_id]
        self._stopped.discard(job_id)
        self._named_to_platform.remove(job_id)
        if not task.cancelled() and task.exception() is not None:
            _log.error("A job ended in a way that nobody foresaw", exc_info=task.exception())
        self._one_ended.set()
