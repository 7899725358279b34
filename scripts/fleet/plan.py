"""Simulates each choice with the same traffic, and sums it up in a row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fleet.endpoint import Choice, Endpoint, Outcome, Scaler, Start
from fleet.traffic import Arrivals, JobTimes, PoissonArrivals


@dataclass(frozen=True)
class Prices:
    """US dollars for an hour of a worker."""

    flex: float
    active: float


@dataclass(frozen=True)
class Plan:
    """What is simulated. All fields except ``choices`` hold for every choice."""

    arrivals: Arrivals
    job_times: JobTimes
    start: Start
    scaler: Scaler
    prices: Prices
    choices: tuple[Choice, ...]
    repeats: int
    seed: int
    last_used_first: bool = False

    def load(self, choice: Choice) -> float:
        """Work that arrives ÷ work that all workers can do. If it is 1 or more, the queue grows without bound."""
        return self.arrivals.rate * self.job_times.mean_s / choice.max_workers

    def peak_load(self, choice: Choice) -> float:
        """The load in the busiest part of the day."""
        return self.arrivals.peak_rate * self.job_times.mean_s / choice.max_workers

    @property
    def workers_needed(self) -> int:
        """The smallest number of workers that can keep up, on average."""
        return math.floor(self.arrivals.rate * self.job_times.mean_s) + 1

    def is_overloaded(self, choice: Choice) -> bool:
        """Whether the queue would grow without bound. Recorded arrivals end, so their queue ends, too."""
        return isinstance(self.arrivals, PoissonArrivals) and self.load(choice) >= 1


@dataclass(frozen=True)
class Figures:
    """The figures of one run of one choice: seconds, shares from 0 to 1, and US dollars."""

    jobs: int
    wait_p50_s: float
    wait_p95_s: float
    wait_max_s: float
    cold_share: float
    utilisation: float
    flex_billed_s: int
    active_billed_s: float
    cost_per_hour: float
    cost_per_1000_jobs: float


@dataclass(frozen=True)
class Row:
    """A choice and its runs. ``runs`` is empty if the choice is overloaded."""

    choice: Choice
    load: float
    peak_load: float
    runs: tuple[Figures, ...]

    def values(self, name: str) -> list[float]:
        """The figure ``name`` of every run."""
        return [float(getattr(run, name)) for run in self.runs]

    def mean(self, name: str) -> float:
        """The mean of the figure ``name`` over the runs."""
        return math.fsum(self.values(name)) / len(self.runs)

    def meets(self, target_p95_s: float) -> bool:
        """Whether in every run 95 % of the jobs waited for at most this time."""
        return bool(self.runs) and max(self.values("wait_p95_s")) <= target_p95_s


def choices(max_workers: Sequence[int], active: Sequence[int], idle_timeouts: Sequence[float]) -> tuple[Choice, ...]:
    """All possible combinations. If all workers are active, the idle time-out does not matter, and is 0."""
    product = itertools.product(sorted(set(active)), sorted(set(max_workers)), sorted(set(idle_timeouts)))
    fitting = [Choice(most, least, idle if most > least else 0.0) for least, most, idle in product if most >= least]
    return tuple(dict.fromkeys(fitting))


def evaluate(plan: Plan, on_run: Callable[[], None] = lambda: None) -> list[Row]:
    """Simulate every choice that is not overloaded. ``on_run`` is called after each run."""
    runs: dict[Choice, list[Figures]] = {choice: [] for choice in plan.choices if not plan.is_overloaded(choice)}
    for seed in np.random.SeedSequence(plan.seed).spawn(plan.repeats):
        traffic_seed, start_seed = seed.spawn(2)
        random = np.random.default_rng(traffic_seed)
        arrivals = plan.arrivals.draw(random).tolist()
        seconds = plan.job_times.draw(random, len(arrivals)).tolist()
        for choice, figures in runs.items():
            starts = np.random.default_rng(start_seed)
            endpoint = Endpoint(choice, plan.start, plan.scaler, starts, plan.last_used_first)
            figures.append(figures_of(endpoint.run(arrivals, seconds, plan.arrivals.hours * 3600), plan.prices))
            on_run()
    return [
        Row(choice, plan.load(choice), plan.peak_load(choice), tuple(runs.get(choice, ()))) for choice in plan.choices
    ]


def figures_of(outcome: Outcome, prices: Prices) -> Figures:
    """Sum up a run. If there was no job, the waits and the cost of 1000 jobs are 0."""
    waits = np.asarray(outcome.waits_s or [0.0])
    median, p95 = np.quantile(waits, (0.5, 0.95)).tolist()
    billed = outcome.flex_billed_s + outcome.active_billed_s
    cost = (outcome.flex_billed_s * prices.flex + outcome.active_billed_s * prices.active) / 3600
    jobs = len(outcome.waits_s)
    return Figures(
        jobs=jobs, wait_p50_s=median, wait_p95_s=p95, wait_max_s=float(waits.max()),
        cold_share=sum(outcome.cold) / max(jobs, 1), utilisation=outcome.busy_s / billed if billed else 0.0,
        flex_billed_s=outcome.flex_billed_s, active_billed_s=outcome.active_billed_s,
        cost_per_hour=cost / outcome.span_s * 3600, cost_per_1000_jobs=cost / max(jobs, 1) * 1000,
    )  # fmt: skip


def cheapest(rows: Sequence[Row], target_p95_s: float | None) -> Row | None:
    """The row that meets the target at the lowest cost per hour; None if no row does, or there is no target."""
    if target_p95_s is None:
        return None
    meeting = [row for row in rows if row.meets(target_p95_s)]
    return min(meeting, key=lambda row: row.mean("cost_per_hour"), default=None)
