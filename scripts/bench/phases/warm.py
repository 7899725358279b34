"""Measures warm latency: all contenders run at the same time and take turns, run by run."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from bench.contenders.contender import BARE, Contender, Run
from bench.contenders.setup import EMBEDDED
from bench.plan import WARM, Plan
from bench.workload.cases import Case

_WARM_UPS = 2
_SHORT_MS = 50.0


@dataclass(frozen=True)
class _Lane:
    """One way to run a job: with a contender's handler, or with the bare executor in its process."""

    name: str
    contender: Contender
    way: str = "handler"


def measure_warm(plan: Plan) -> Iterator[tuple[str, dict[str, list[Run]]]]:
    """The runs of each case, by contender; n-th runs are of the same turn. A contender that fails is left out."""
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:
        contenders = started(plan, stack)
        for case in plan.cases:
            yield case.name, _measured(plan, case, contenders, numbers)


def started(plan: Plan, stack: contextlib.ExitStack) -> list[Contender]:
    """Start all contenders at the same time. Returns those that have started."""
    plan.progress.begin("starting " + ", ".join(plan.contenders), 1)
    begun = []
    for name in plan.contenders:
        contender = stack.enter_context(Contender(name, plan.setup))
        begun.append(plan.attempt(WARM, name, contender.begin))
    return [each for each in begun if each and plan.attempt(WARM, each.name, each.ready)]


def run_case(
    contender: Contender, case: Case, numbers: Iterator[int], way: str = "handler", *, twice: bool = False
) -> Run:
    """Do one run of ``case``. Returns the sum of its jobs, which run one after the other.

    With ``twice``, a similar job, which is not measured, runs right before each job.

    Raises:
        ContenderFailed: a job or the contender failed.
    """
    runs = []
    for part in range(case.jobs):
        before = case.request(next(numbers), part) if twice else None
        runs.append(contender.run(case.request(next(numbers), part), way, before))
    moved = [run.loopback_bytes for run in runs if run.loopback_bytes is not None]
    return Run(
        ms=sum(run.ms for run in runs),
        request_bytes=sum(run.request_bytes for run in runs),
        answer_bytes=sum(run.answer_bytes for run in runs),
        loopback_bytes=sum(moved) if len(moved) == len(runs) else None,
        images=sum(run.images for run in runs),
        files=sum(run.files for run in runs),
    )


def _measured(plan: Plan, case: Case, contenders: list[Contender], numbers: Iterator[int]) -> dict[str, list[Run]]:
    lanes = [_Lane(contender.name, contender) for contender in contenders if contender.is_running]
    # The bare executor would keep embedded's process warm, which is unfair to another checkout.
    if case.has_bare and not plan.setup.against:
        lanes += [_Lane(BARE, lane.contender, BARE) for lane in lanes if lane.name == EMBEDDED]
    runs: dict[str, list[Run]] = {lane.name: [] for lane in lanes}
    plan.progress.begin(f"warm: {case.name}", plan.counts.runs + _WARM_UPS)
    fastest_ms = math.inf
    chance, last = random.Random(0), None  # noqa: S311 - an order, no secret.
    for turn in range(-_WARM_UPS, plan.counts.runs):
        for lane in _shuffled(lanes, last, chance):
            last = lane
            # Other contenders have filled the processor's caches, so a short job would take up to three times as long.
            # So run it twice. All lanes of a case are treated alike.
            twice = fastest_ms < _SHORT_MS
            run = plan.attempt(
                case.name, lane.name, partial(run_case, lane.contender, case, numbers, lane.way, twice=twice)
            )
            if run is None:
                lanes.remove(lane)
                del runs[lane.name]
            elif turn >= 0:
                runs[lane.name].append(run)
            else:
                fastest_ms = min(fastest_ms, run.ms)
        plan.progress.advance()
    return runs


def _shuffled(lanes: list[_Lane], last: _Lane | None, chance: random.Random) -> list[_Lane]:
    """``lanes`` in random order, as each may profit or suffer from the one before it. ``last`` does not come first."""
    order = lanes[:]
    chance.shuffle(order)
    if len(order) > 1 and order[0] is last:
        other = chance.randrange(1, len(order))
        order[0], order[other] = order[other], order[0]
    return order
