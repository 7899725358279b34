"""``Plan``: what the benchmark measures, and the failures so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from bench.contenders.contender import AGAINST, KNOWN
from bench.contenders.process import ContenderFailed
from bench.contenders.setup import EMBEDDED, WEBSOCKET, Setup
from bench.progress import Progress
from bench.workload.cases import BUILT_IN, Case

T = TypeVar("T")
START, WARM, MEMORY, OUTPUTS, QUEUE = "start", "warm", "memory", "outputs", "queue"
DEFAULT_PHASES = (START, WARM, MEMORY)
PHASES = (*DEFAULT_PHASES, OUTPUTS, QUEUE)


@dataclass(frozen=True)
class Counts:
    """How often each thing is measured.

    Attributes:
        runs: runs of each case, in ``warm`` and ``outputs``.
        starts: starts of each contender.
        memory_runs: runs of each case, in ``memory``.
        queue_rounds: batches of each worker, in ``queue``.
    """

    runs: int
    starts: int
    memory_runs: int
    queue_rounds: int


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        backends: ``embedded``, ``websocket``, or both.
        phases: some of ``PHASES``.
        cases: the kinds of jobs that are run.
        counts: how often each thing is measured.
        setup: what all contenders share.
        progress: shows each step.
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
        """Names of all contenders, in their order. ``against`` comes right after ``embedded``."""
        checkouts = {AGAINST: self.setup.against, KNOWN: self.setup.known}
        given = {*self.backends, *(name for name, checkout in checkouts.items() if checkout)}
        return tuple(name for name in (EMBEDDED, AGAINST, WEBSOCKET, KNOWN) if name in given)

    @property
    def measures_run_ends(self) -> bool:
        """Whether ends of ``python -m worker run`` are measured: only where starts alone are."""
        return self.phases == (START,) and EMBEDDED in self.backends

    @property
    def measures_volume(self) -> bool:
        """Whether starts with large models on a volume are measured. They take long: only where no case is left out."""
        return self.measures_run_ends and {*BUILT_IN} <= {case.name for case in self.cases}

    def attempt(self, what: str, contender: str, action: Callable[[], T]) -> T | None:
        """Call ``action``, and return its result. If ``contender`` fails in it, note the failure and return None."""
        try:
            return action()
        except ContenderFailed as error:
            failure = (what, contender, str(error))
            if failure not in self.failures:
                self.failures.append(failure)
                self.progress.tell(f"{what}: {contender} failed: {error}")
            return None
