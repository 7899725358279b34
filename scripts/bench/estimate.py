"""Estimates how long a plan takes on two cores without a GPU, from what docs/performance.md measured there."""

from __future__ import annotations

from bench.plan import MEMORY, OUTPUTS, QUEUE, START, WARM, Plan
from bench.workload.cases import BUILT_IN, SAMPLED

_START_S = 9.0  # From fresh processes to the first answer, and their end.
_FIRST_SAMPLED_S = 3.0
_REST_S = 3.0  # Around the measurement of idle memory.
_RUN_S = {
    "empty-64": 0.01,
    "photo-1024": 0.2,
    "photo-1024-batch4": 0.7,
    "txt2img-tiny": 0.5,
    "steps-20": 1.0,
    "upscale-tiny": 0.15,
    "repeat": 0.05,
    "mixed": 1.2,
}
_VOLUME_S, _LARGE_MODELS_S = 200.0, 40.0  # A turn of all starts with models on a volume; to make these models.
_OUTPUTS_S, _QUEUE_S = 3.0, 4.0  # A run of all cases; a round of all workers.
_WARM_UPS = 2


def about(plan: Plan) -> str:
    """How long ``plan`` takes, as text. Nothing is known of workflows that are not built in."""
    minutes = seconds(plan) / 60
    shown = "a minute" if minutes < 1 else f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute or two"
    own = [case.name for case in plan.cases if case.name not in BUILT_IN]
    more = f", and what {', '.join(own)} takes" if own and {WARM, MEMORY} & set(plan.phases) else ""
    return f"this takes about {shown} on two cores without a GPU{more}"


def seconds(plan: Plan) -> float:
    """The seconds that the phases of ``plan`` take together, without its own workflows."""
    counts, contenders = plan.counts, len(plan.contenders)
    sampled = _FIRST_SAMPLED_S if SAMPLED in plan.cases else 0
    ends = (1 + (plan.setup.against is not None)) if plan.measures_run_ends else 0
    a_run = sum(_RUN_S.get(case.name, 0) for case in plan.cases)
    by_phase = {
        # The bare executor is one more lane.
        WARM: contenders * _START_S + (counts.runs + _WARM_UPS) * (contenders + 1) * a_run,
        MEMORY: contenders * (_START_S + _REST_S + counts.memory_runs * a_run),
        OUTPUTS: 2 * _START_S + (counts.runs + _WARM_UPS) * _OUTPUTS_S,
        QUEUE: 3 * _START_S + (counts.queue_rounds + 1) * _QUEUE_S,
        START: counts.starts * (contenders * (_START_S + sampled) + ends * _START_S),
    }
    volume = counts.starts * _VOLUME_S + _LARGE_MODELS_S if plan.measures_volume else 0
    return sum(by_phase[phase] for phase in plan.phases) + volume
