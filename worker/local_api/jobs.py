"""The queue of the local API: lets jobs wait, run and end, as RunPod documents it."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from worker.answer.reply import Reply, encode
from worker.errors import failure
from worker.events import Listener
from worker.local_api.job import LocalJob, State
from worker.local_api.requests import JobRequest
from worker.local_api.retention import KeptJobs
from worker.progress.job_progress import JobProgress

_log = logging.getLogger("worker")

_KEPT_ASYNC_S, _KEPT_SYNC_S = 1800.0, 60.0  # How long RunPod keeps a result of /run and of /runsync.
_MAX_QUEUED = 500
_MAX_QUEUED_BYTES = 1_000_000_000
_STUCK_S = 5.0  # How long the server waits at its end for jobs that do not stop.

Run = Callable[[dict[str, Any], Listener], Awaitable[Reply]]
OnEnd = Callable[[LocalJob], None]


class QueueFull(Exception):
    """No further job is taken; the text says why."""


class LocalJobs:
    """The queue and its results. Use it on one event loop.

    Args:
        run: runs one job, given as RunPod hands it over. Cancelling the call stops the job.
        concurrency: how many jobs run at once.
        max_result_bytes: largest size of all kept results together.
        on_end: called with each job that has ended.
    """

    def __init__(self, run: Run, concurrency: int, max_result_bytes: float, on_end: OnEnd) -> None:
        self._run = run
        self._concurrency = concurrency
        self._on_end = on_end
        self._queue: deque[LocalJob] = deque()
        self._running: set[LocalJob] = set()
        self._kept = KeptJobs(max_result_bytes, self._expire)
        self._counts = {State.COMPLETED: 0, State.FAILED: 0, State.TIMED_OUT: 0, State.CANCELLED: 0}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, request: JobRequest, size: int, *, sync: bool) -> LocalJob:
        """Queue a job. It begins when its turn comes, even if nobody waits for it.

        Args:
            request: the parsed request.
            size: bytes of the request.
            sync: whether it came to ``/runsync``.

        Raises:
            QueueFull: too much is waiting.
        """
        if len(self._queue) >= _MAX_QUEUED:
            raise QueueFull(f"The queue is full: {_MAX_QUEUED} jobs are waiting; try again later")
        if sum(job.size for job in self._queue) + size > _MAX_QUEUED_BYTES:
            raise QueueFull(f"The queue is full: its requests fill {_MAX_QUEUED_BYTES / 1e6:g} MB; try again later")
        job = LocalJob(
            id=f"{'sync-' if sync else ''}{uuid.uuid4()}",
            request=request,
            webhook=request.webhook,
            size=size,
            kept_s=_KEPT_SYNC_S if sync else _KEPT_ASYNC_S,
        )
        self._queue.append(job)
        self.set_ttl(job, request.policy.ttl)
        self._start_next()
        return job

    def get(self, job_id: str) -> LocalJob | None:
        """The job; None if there is no job with this id, or it is no longer kept."""
        return self._kept.get(job_id)

    def set_ttl(self, job: LocalJob, milliseconds: int) -> None:
        """End and forget ``job`` this long after it was queued. Does nothing if the job has ended."""
        if not job.state.final:
            self._kept.keep(job, job.queued + milliseconds / 1000 - time.monotonic())

    def cancel(self, job: LocalJob) -> None:
        """Stop ``job`` if it has not ended. Its state is ``CANCELLED`` at once."""
        self._end(job, State.CANCELLED, None)

    def purge(self) -> int:
        """Cancel every job that waits. Returns how many there were."""
        waiting = list(self._queue)
        for job in waiting:
            self.cancel(job)
        return len(waiting)

    async def wait(self, job: LocalJob, seconds: float) -> None:
        """Wait until ``job`` has ended, for ``seconds`` at most."""
        try:
            await asyncio.wait_for(job.over.wait(), seconds)
        except TimeoutError:
            return

    async def close(self) -> None:
        """Cancel every job, and wait until all have stopped, for five seconds at most."""
        for job in self._kept.all():
            self.cancel(job)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STUCK_S)
        self._kept.close()

    def counts(self) -> dict[str, int]:
        """How many jobs are or were in each state, for ``/health``."""
        return {
            "completed": self._counts[State.COMPLETED],
            "failed": self._counts[State.FAILED] + self._counts[State.TIMED_OUT],
            "inProgress": len(self._running),
            "inQueue": len(self._queue),
            "retried": 0,
        }

    def _start_next(self) -> None:
        while self._queue and len(self._running) < self._concurrency:
            job = self._queue.popleft()
            self._running.add(job)
            job.started, job.state = time.monotonic(), State.IN_PROGRESS
            request, job.request = job.request, None  # Do not keep the request, since its files may be large.
            if request is not None:  # Always true, since a job in the queue has its request.
                task = asyncio.create_task(self._work(job, request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _work(self, job: LocalJob, request: JobRequest) -> None:
        raw = {"id": job.id, "input": request.input} | ({"s3Config": request.s3Config} if request.s3Config else {})
        try:
            if not job.state.final:  # The job may have been cancelled just now.
                job.task = asyncio.ensure_future(self._run(raw, job.progress))
                await self._watch(job, job.task, request.policy.executionTimeout)
        except Exception:  # noqa: BLE001 - a caller waits for an answer.
            _log.exception("The local API failed")
            self._end(job, State.FAILED, encode(failure("Internal error", "internal")))
        finally:
            job.task = None
            self._running.discard(job)
            self._start_next()

    async def _watch(self, job: LocalJob, task: asyncio.Task[Reply], timeout_ms: int) -> None:
        done, _ = await asyncio.wait([task], timeout=timeout_ms / 1000)
        if not done:
            text = f"The job ran longer than its executionTimeout of {timeout_ms} ms"
            self._end(job, State.TIMED_OUT, encode(failure(text, "timeout")))
            await asyncio.wait([task])  # The next job must not begin before this one has really stopped.
        if not task.cancelled():
            reply = task.result()
            self._end(job, State.COMPLETED if reply.error is None else State.FAILED, reply)

    def _expire(self, job: LocalJob) -> None:
        self._end(job, State.TIMED_OUT, encode(failure("The job's ttl ran out before it ended", "timeout")))

    def _end(self, job: LocalJob, state: State, reply: Reply | None) -> None:
        """End ``job``, unless it has ended before."""
        if job.state.final:
            return
        if job.state is State.IN_QUEUE:
            self._queue.remove(job)
        job.state, job.reply, job.ended, job.request = state, reply, time.monotonic(), None
        job.progress = JobProgress()  # A kept result needs no memory for its preview.
        self._counts[state] += 1
        if job.task is not None:
            job.task.cancel()
        job.over.set()
        self._kept.keep_result(job)
        self._on_end(job)
