"""``LocalJob``: one job of the local API, and its state as RunPod names it."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from enum import StrEnum

from worker.answer.reply import Reply
from worker.local_api.requests import JobRequest
from worker.progress.job_progress import JobProgress


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


@dataclass(eq=False)
class LocalJob:
    """One job, from its request until it is forgotten. Times are in seconds, by ``time.monotonic``.

    ``request``: None once the job has begun or ended. ``size``: bytes of the request. ``kept_s``: how many seconds the
    result is kept. ``streamed``: whether ``/stream`` has sent the result. ``over`` is set when the job has ended.
    """

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

    def times(self) -> dict[str, int]:
        """``delayTime`` and ``executionTime`` in milliseconds, if they are known."""
        known = {}
        started = self.started if self.started is not None else self.ended
        if started is not None:
            known["delayTime"] = _milliseconds(started - self.queued)
        if self.started is not None and self.ended is not None:
            known["executionTime"] = _milliseconds(self.ended - self.started)
        return known


def _milliseconds(seconds: float) -> int:
    return max(0, math.floor(seconds * 1000))
