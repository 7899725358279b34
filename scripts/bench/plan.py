"""What a run of the benchmark shall do, and what went wrong while it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.cases import Case
from bench.contender import KNOWN, Contender, Place
from bench.process import ContenderFailed
from bench.progress import Progress

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

    @contextmanager
    def noting(self, what: str, contender: Contender) -> Iterator[None]:
        """Go on where ``contender`` fails within; ``failures`` tells it."""
        try:
            yield
        except ContenderFailed as error:
            self.failures.append((what, contender.name, str(error)))
            self.progress.tell(f"{what}: {contender.name} failed: {error}")
