"""What a run of the benchmark shall do, and what went wrong while it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from bench.contenders.contender import AGAINST, KNOWN
from bench.contenders.process import ContenderFailed
from bench.contenders.setup import EMBEDDED, WEBSOCKET, Setup
from bench.progress import Progress
from bench.workload.cases import Case

T = TypeVar("T")
START, WARM, MEMORY, OUTPUTS, QUEUE = "start", "warm", "memory", "outputs", "queue"
DEFAULT_PHASES = (START, WARM, MEMORY)
PHASES = (*DEFAULT_PHASES, OUTPUTS, QUEUE)


@dataclass(frozen=True)
class Counts:
    """How often each thing is measured.

    Attributes:
        runs: of each case, in ``warm`` and ``outputs``.
        starts: of each contender.
        memory_runs: of each case while memory is watched.
        queue_rounds: batches of each worker in ``queue``.
    """

    runs: int
    starts: int
    memory_runs: int
    queue_rounds: int


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        backends: ``embedded``, ``websocket``.
        phases: of ``PHASES``.
        cases: what is run.
        counts: how often.
        setup: what all contenders share.
        progress: told of each step.
        failures: ``(phase or case, contender, text)``, as they happen.
    """

    backends: tuple[str, ...]
    phases: tuple[str, ...]
    cases: tuple[Case, ...]
    counts: Counts
    setup: Setup
    progress: Progress
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def contenders(self) -> tuple[str, ...]:
        """Names of all contenders, in their order; ``against`` comes right after ``embedded``."""
        checkouts = {AGAINST: self.setup.against, KNOWN: self.setup.known}
        given = {*self.backends, *(name for name, checkout in checkouts.items() if checkout)}
        return tuple(name for name in (EMBEDDED, AGAINST, WEBSOCKET, KNOWN) if name in given)

    def attempt(self, what: str, contender: str, action: Callable[[], T]) -> T | None:
        """What ``action`` returns. Where ``contender`` fails in it: None, and the failure is noted."""
        try:
            return action()
        except ContenderFailed as error:
            failure = (what, contender, str(error))
            if failure not in self.failures:
                self.failures.append(failure)
                self.progress.tell(f"{what}: {contender} failed: {error}")
            return None
