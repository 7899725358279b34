"""Measures cold starts, from fresh processes to the answer of a first job."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from bench.contenders.contender import Contender
from bench.phases.memory import sample_memory
from bench.plan import START, Plan
from bench.workload.cases import FIRST, SAMPLED


@dataclass(frozen=True)
class Start:
    """One start, with the first jobs after it.

    Attributes:
        seconds: from the start of the processes to the first answer.
        steps: seconds of each step, in order.
        rss_mb: RSS of all processes after that, in MB of 10⁶ bytes.
        sampled_s: ``seconds`` and those of a first job for the sampler right after it; None if that is not measured.
    """

    seconds: float
    steps: dict[str, float]
    rss_mb: float
    sampled_s: float | None = None


def measure_starts(plan: Plan) -> Iterator[dict[str, list[Start]]]:
    """Start the contenders in turn: the starts so far, after each turn. A contender that fails is left out.

    If this is the only phase, there is a first round that is not counted, so that the files are in the system's cache.
    """
    unmeasured = int(plan.phases == (START,))
    starts: dict[str, list[Start]] = {name: [] for name in plan.contenders}
    numbers = itertools.count(1)
    plan.progress.begin("cold starts", (plan.counts.starts + unmeasured) * len(starts))
    for turn in range(-unmeasured, plan.counts.starts):
        for name in list(starts):
            with Contender(name, plan.setup) as contender:
                start = plan.attempt(START, name, partial(_measured, plan, contender, next(numbers)))
            if start is None:
                del starts[name]
            elif turn >= 0:
                starts[name].append(start)
            plan.progress.advance()
        yield starts


def _measured(plan: Plan, contender: Contender, number: int) -> Start:
    up = contender.start()
    contender.run(FIRST.request(number, 0))
    seconds = time.monotonic() - up.began
    steps = {**up.steps, "first result": seconds - sum(up.steps.values())}
    memory = sum(sample_memory(contender.pids()).rss.values())
    sampled = seconds + contender.run(SAMPLED.request(number, 0)).ms / 1000 if SAMPLED in plan.cases else None
    return Start(seconds, steps, memory, sampled)
