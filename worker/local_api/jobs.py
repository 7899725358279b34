"""The jobs of the local API: queued, run once each, kept for a while, all as RunPod documents it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from worker.answer.reply import Reply, encode
from worker.errors import failure
from worker.events import Listener
from worker.local_api.requests import JobRequest
from worker.progress import JobProgress

_log = logging.getLogger("worker")

_KEPT_ASYNC_S, _KEPT_SYNC_S = 1800.0, 60.0  # How long RunPod keeps a result of /run and of /runsync.
_MAX_QUEUED = 500
_MAX_QUEUED_BYTES = 1_000_000_000
_MAX_KEPT = 10_000
_STUCK_S = 5.0

Run = Callable[[dict[str, Any], Listener], Awaitable[Reply]]
OnEnd = Callable[["LocalJob"], None]


class State(StrEnum):
    """RunPod's states of a job."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def final(self) -> bool:
        """Whether a job stays in this state."""
        return self not in (State.IN_QUEUE, State.IN_PROGRESS)


class QueueFull(Exception):
    """No further job is taken; the text says why."""


@dataclass(eq=False)
class LocalJob:
    """One job, from its request to the end of its retention. Times are of ``time.monotonic``, in seconds."""

    id: str
    request: JobRequest | None = field(repr=False)
    webhook: str | None
    size: int
    kept_s: float
    queued: float = field(default_factory=time.monotonic)
    state: State = State.IN_QUEUE
    started: float | None = None
    ended: float | None = None
    progress: JobProgress = field(default_factory=JobProgress)
    reply: Reply | None = field(default=None, repr=False)
    streamed: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[Reply] | None = None
    timer: asyncio.TimerHandle | None = None

    def times(self) -> dict[str, int]:
        """``delayTime`` and ``executionTime`` in milliseconds, as far as they are known."""
        known = {}
        started = self.started if self.started is not None else self.ended
        if started is not None:
            known["delayTime"] = _milliseconds(started - self.queued)
        if self.started is not None and self.ended is not None:
            known["executionTime"] = _milliseconds(self.ended - self.started)
        return known


def _milliseconds(seconds: float) -> int:
    return max(0, math.floor(seconds * 1000))


class LocalJobs:
    """The queue and its results. Lives on one event loop.

    Args:
        run: runs one job as RunPod hands it over; cancelling it stops the job.
        concurrency: jobs that run at once.
        max_result_bytes: results kept, together.
        on_end: told of each job that has come to an end.
    """

    def __init__(self, run: Run, concurrency: int, max_result_bytes: float, on_end: OnEnd) -> None:
        self._run = run
        self._concurrency = concurrency
        self._max_result_bytes = max_result_bytes
        self._on_end = on_end
        self._jobs: dict[str, LocalJob] = {}
        self._queue: deque[LocalJob] = deque()
        self._ended: OrderedDict[str, LocalJob] = OrderedDict()
        self._kept_bytes = 0
        self._running: set[LocalJob] = set()
        self._counts = {State.COMPLETED: 0, State.FAILED: 0, State.TIMED_OUT: 0, State.CANCELLED: 0}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, request: JobRequest, size: int, *, sync: bool) -> LocalJob:
        """Queue a job; it begins when its turn comes, whoever asks for it.

        Args:
            request: what was sent.
            size: its bytes.
            sync: it came by ``/runsync``.

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
        self._jobs[job.id] = job
        self._queue.append(job)
        self.set_ttl(job, request.policy.ttl)
        self._start_next()
        return job

    def get(self, job_id: str) -> LocalJob | None:
        """The job; None where there is none, or none any more."""
        return self._jobs.get(job_id)

    def set_ttl(self, job: LocalJob, milliseconds: int) -> None:
        """Let ``job`` end and be forgotten so long after it was sent."""
        if not job.state.final:
            self._forget_in(job, job.queued + milliseconds / 1000 - time.monotonic())

    def cancel(self, job: LocalJob) -> None:
        """Stop ``job`` if it has not ended; it counts as cancelled at once."""
        self._end(job, State.CANCELLED, None)

    def purge(self) -> int:
        """Cancel every job that waits; their number."""
        waiting = list(self._queue)
        for job in waiting:
            self.cancel(job)
        return len(waiting)

    async def wait(self, job: LocalJob, seconds: float) -> None:
        """Until ``job`` has ended, for ``seconds`` at most."""
        try:
            await asyncio.wait_for(job.over.wait(), seconds)
        except TimeoutError:
            return

    async def close(self) -> None:
        """Cancel every job, and wait until none runs, but not for ever for one that does not stop."""
        for job in list(self._jobs.values()):
            self.cancel(job)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STUCK_S)
        for job in self._jobs.values():
            if job.timer is not None:
                job.timer.cancel()

    def counts(self) -> dict[str, int]:
        """Jobs by what became of them, as ``/health`` has it."""
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
            request, job.request = job.request, None  # Its files may be large.
            if request is not None:  # Only a job's end takes it away.
                self._keep(asyncio.create_task(self._work(job, request)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, job: LocalJob, request: JobRequest) -> None:
        raw = {"id": job.id, "input": request.input} | ({"s3Config": request.s3Config} if request.s3Config else {})
        try:
            if not job.state.final:  # It may have been cancelled just now.
                job.task = asyncio.ensure_future(self._run(raw, job.progress))
                await self._watch(job, job.task, request.policy.executionTimeout)
        except Exception:  # noqa: BLE001 - whatever it is, somebody waits for an answer.
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
            await asyncio.wait([task])  # The next job begins when this one has really stopped.
        if not task.cancelled():
            reply = task.result()
            self._end(job, State.COMPLETED if reply.error is None else State.FAILED, reply)

    def _end(self, job: LocalJob, state: State, reply: Reply | None) -> None:
        """Bring ``job`` to its end; the first end counts."""
        if job.state.final:
            return
        if job.state is State.IN_QUEUE:
            self._queue.remove(job)
        job.state, job.reply, job.ended, job.request = state, reply, time.monotonic(), None
        self._counts[state] += 1
        if job.task is not None:
            job.task.cancel()
        job.over.set()
        self._ended[job.id] = job
        self._kept_bytes += _size(job)
        self._forget_in(job, job.kept_s)
        self._bound()
        self._on_end(job)

    def _forget_in(self, job: LocalJob, seconds: float) -> None:
        if job.timer is not None:
            job.timer.cancel()
        job.timer = asyncio.get_running_loop().call_later(seconds, self._forget, job)

    def _forget(self, job: LocalJob) -> None:
        self._end(job, State.TIMED_OUT, encode(failure("The job's ttl ran out before it ended", "timeout")))
        if job.timer is not None:
            job.timer.cancel()
        self._jobs.pop(job.id, None)
        if self._ended.pop(job.id, None) is not None:
            self._kept_bytes -= _size(job)

    def _bound(self) -> None:
        """Forget the oldest results where they are too many; the newest stays, however large it is."""
        while len(self._ended) > 1 and (self._kept_bytes > self._max_result_bytes or len(self._ended) > _MAX_KEPT):
            self._forget(next(iter(self._ended.values())))


def _size(job: LocalJob) -> int:
    return len(job.reply.output) if job.reply else 0
