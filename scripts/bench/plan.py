"""What a run of the benchmark shall do, and what went wrong while it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from bench.cases import Case
from bench.contender import KNOWN, Place
from bench.process import ContenderFailed
from bench.progress import Progress

T = TypeVar("T")
START, WARM, MEMORY = "start", "warm", "memory"
PHASES = (START, WARM, MEMORY)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        backends: ``embedded``, ``websocket``.
        phases: of ``PHASES``.
        cases: what is run.
        runs: measured runs of each case, warm.
        starts: measured starts of each contender.
        memory_runs: runs of each case while memory is watched.
        place: where it happens.
        progress: told of each step.
        failures: ``(phase or case, contender, text)``, as they happen.
    """

    backends: tuple[str, ...]
    phases: tuple[str, ...]
    cases: tuple[Case, ...]
    runs: int
    starts: int
    memory_runs: int
    place: Place
    progress: Progress
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def contenders(self) -> tuple[str, ...]:
        """Names of all contenders."""
        return (*self.backends, KNOWN) if self.place.known else self.backends

    def attempt(self, what: str, contender: str, action: Callable[[], T]) -> T | None:
        """What ``action`` returns; None where ``contender`` fails in it, which ``failures`` tells."""
        try:
            return action()
        except ContenderFailed as error:
            failure = (what, contender, str(error))
            if failure not in self.failures:
                self.failures.append(failure)
                self.progress.tell(f"{what}: {contender} failed: {error}")
            return None
