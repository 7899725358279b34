"""Simulates one RunPod endpoint: its queue, its scaler, its workers and their bills. Times are in seconds.

A worker starts, then takes jobs one at a time in the order of their arrival. A flex worker stops when it had no job for
the idle time-out. It is billed from the beginning of its start to its stop, rounded up to a whole second.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import simpy

Steps = Generator[simpy.Event, object, None]


@dataclass(frozen=True)
class Start:
    """How long a flex worker's start takes. FlashBoot shortens a share of the starts to ``flashboot_s``."""

    cold_s: float
    flashboot_s: float = 0.0
    flashboot_share: float = 0.0

    def draw(self, random: np.random.Generator) -> float:
        """Draw the seconds of one start."""
        return self.flashboot_s if random.random() < self.flashboot_share else self.cold_s


@dataclass(frozen=True)
class Scaler:
    """When a worker is added: after a job has waited ``value`` seconds, or for every ``value`` jobs in the endpoint."""

    kind: Literal["queue-delay", "request-count"]
    value: float


@dataclass(frozen=True)
class Choice:
    """The settings of an endpoint that are compared. ``max_workers`` includes the active workers."""

    max_workers: int
    active_workers: int
    idle_timeout_s: float

    @property
    def has_flex(self) -> bool:
        """Whether there are flex workers, which start and stop."""
        return self.max_workers > self.active_workers


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run. ``waits_s`` and ``cold`` have an entry for each job, in the order in which jobs began.

    ``cold``: whether the job waited while a worker started. ``busy_s``: seconds of work of all workers together.
    ``span_s``: seconds from the beginning of the run to its end.
    """

    waits_s: Sequence[float]
    cold: Sequence[bool]
    busy_s: float
    flex_billed_s: int
    active_billed_s: float
    span_s: float


@dataclass
class _Job:
    arrived: float
    seconds: float
    met_start: bool
    began: bool = False
    overdue: bool = False


@dataclass
class Endpoint:
    """An endpoint that is simulated. ``run`` may be called once."""

    choice: Choice
    start: Start
    scaler: Scaler
    random: np.random.Generator
    last_used_first: bool = False
    env: simpy.Environment = field(default_factory=simpy.Environment)
    _queue: deque[_Job] = field(default_factory=deque)
    _idle: deque[simpy.Event] = field(default_factory=deque)
    _workers: int = 0
    _starting: int = 0
    _in_progress: int = 0
    _overdue: int = 0
    _last_start: float = -math.inf
    _waits: list[float] = field(default_factory=list)
    _cold: list[bool] = field(default_factory=list)
    _busy: float = 0.0
    _flex_billed: int = 0
    _last_event: float = 0.0

    def run(self, arrivals: Sequence[float], seconds: Sequence[float], horizon_s: float) -> Outcome:
        """Serve jobs that arrive at ``arrivals`` and take ``seconds``, until all flex workers have stopped."""
        for _ in range(self.choice.active_workers):
            self._workers += 1
            self.env.process(self._serve(math.inf))
        self.env.process(self._arrive(arrivals, seconds))
        self.env.run()
        span = max(horizon_s, self._last_event)
        active = self.choice.active_workers * span
        return Outcome(self._waits, self._cold, self._busy, self._flex_billed, active, span)

    def _arrive(self, arrivals: Sequence[float], seconds: Sequence[float]) -> Steps:
        for time, length in zip(arrivals, seconds, strict=True):
            yield self.env.timeout(max(0.0, time - self.env.now))
            job = _Job(self.env.now, length, met_start=self._starting > 0)
            if self._idle:
                (self._idle.pop if self.last_used_first else self._idle.popleft)().succeed(job)
                self._in_progress += 1
            else:
                self._queue.append(job)
                if self.scaler.kind == "queue-delay":
                    self.env.process(self._watch(job))
            if self.scaler.kind == "request-count":
                present = len(self._queue) + self._in_progress
                self._add_worker(math.ceil(present / self.scaler.value) > self._workers)

    def _watch(self, job: _Job) -> Steps:
        """Add a worker when ``job`` has waited too long, unless enough workers are starting."""
        yield self.env.timeout(self.scaler.value)
        if not job.began:
            job.overdue = True
            self._overdue += 1
            self._add_worker(self._overdue > self._starting)

    def _add_worker(self, wanted: bool) -> None:
        if wanted and self._workers < self.choice.max_workers:
            self._workers += 1
            self.env.process(self._flex())

    def _flex(self) -> Steps:
        """A flex worker, from its start to its stop."""
        began = self._last_start = self.env.now
        self._starting += 1
        yield self.env.timeout(self.start.draw(self.random))
        self._starting -= 1
        yield from self._serve(self.choice.idle_timeout_s)
        self._workers -= 1
        self._last_event = max(self._last_event, self.env.now)
        self._flex_billed += math.ceil(round(self.env.now - began, 6))

    def _serve(self, idle_timeout_s: float) -> Steps:
        """Take jobs until no job has come for the idle time-out."""
        while True:
            if self._queue:
                job = self._queue.popleft()
                self._in_progress += 1
            else:
                taken = self.env.event()
                self._idle.append(taken)
                yield taken if idle_timeout_s == math.inf else taken | self.env.timeout(idle_timeout_s)
                if not taken.triggered:
                    self._idle.remove(taken)
                    return
                job = cast(_Job, taken.value)
            yield self._begin(job)
            self._busy += job.seconds
            self._in_progress -= 1
            self._last_event = max(self._last_event, self.env.now)

    def _begin(self, job: _Job) -> simpy.Event:
        job.began = True
        self._overdue -= job.overdue
        wait = self.env.now - job.arrived
        self._waits.append(wait)
        self._cold.append(wait > 0 and (job.met_start or self._last_start >= job.arrived))
        return self.env.timeout(job.seconds)
