"""The figures as JSON. docs/performance.md documents the schema."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.comparison import Ratio, median_difference, ratio, spread
from bench.contender import BARE, EMBEDDED, KNOWN, WEBSOCKET, Run
from bench.machine import machine, versions
from bench.memory import Memory
from bench.plan import MEMORY, START, Plan
from bench.start import Start

SCHEMA = 1
Figures = dict[str, Any]


def make_figures(
    plan: Plan,
    comfyui: str,
    starts: Mapping[str, Sequence[Start]],
    warm: Mapping[str, Mapping[str, Sequence[Run]]],
    memory: Mapping[str, Memory],
) -> Figures:
    """Everything that was measured. ``comfyui``: its version."""
    figures = {
        "schema": SCHEMA,
        "machine": machine(),
        "versions": versions(comfyui),
        "settings": {
            "backends": list(plan.backends),
            "known_worker": plan.place.known is not None,
            "phases": list(plan.phases),
            "cases": [case.name for case in plan.cases],
            "cached_cases": [case.name for case in plan.cases if not case.is_varied],
            "runs": plan.runs,
            "starts": plan.starts,
            "memory_runs": plan.memory_runs,
            "comfy_args": list(plan.place.settings.comfy_args),
        },
        "start": {name: _start(runs) for name, runs in starts.items() if runs},
        "warm": {case: _case(runs) for case, runs in warm.items()},
        "memory": {name: _memory(taken) for name, taken in memory.items()},
        "failures": [dict(zip(("what", "contender", "error"), each, strict=True)) for each in plan.failures],
    }
    for other, suffix in ((WEBSOCKET, ""), (KNOWN, "_known")):
        if other == WEBSOCKET or plan.place.known:
            figures |= {name + suffix: value for name, value in _compared(figures, other).items()}
    return figures


def _start(starts: Sequence[Start]) -> Figures:
    seconds = [start.seconds for start in starts]
    steps = {name: statistics.median(start.steps[name] for start in starts) for name in starts[0].steps}
    return {"seconds": seconds, **asdict(spread(seconds)), "steps": steps}


def _case(runs: Mapping[str, Sequence[Run]]) -> Figures:
    return {name: _contender(lane, runs.get(BARE) if name != BARE else None) for name, lane in runs.items() if lane}


def _contender(runs: Sequence[Run], bare: Sequence[Run] | None) -> Figures:
    milliseconds = [run.ms for run in runs]
    moved = [run.loopback_bytes for run in runs if run.loopback_bytes is not None]
    return {
        "ms": milliseconds,
        **asdict(spread(milliseconds)),
        "overhead_ms": median_difference(milliseconds, [run.ms for run in bare]) if bare else None,
        "images_per_s": sum(run.images for run in runs) / sum(milliseconds) * 1000,
        "images": statistics.median(run.images for run in runs),
        "files": statistics.median(run.files for run in runs),
        "request_bytes": statistics.median(run.request_bytes for run in runs),
        "answer_bytes": statistics.median(run.answer_bytes for run in runs),
        "loopback_bytes": statistics.median(moved) if moved else None,
    }


def _memory(taken: Memory) -> Figures:
    gpu = None
    if taken.gpu and taken.gpu_before_mb is not None:
        gpu = {"peak_mb": taken.gpu.peak_mb, "before_mb": taken.gpu_before_mb, "busy_s": taken.gpu.busy_s}
    return {
        "idle": {"rss_mb": taken.idle_rss, "pss_mb": taken.idle_pss},
        "peak": {"rss_mb": sum(taken.peak_rss.values()), "pss_mb": sum(taken.peak_pss.values())},
        "peak_pss_mb_of": taken.peak_pss,
        "gpu": gpu,
    }


def _compared(figures: Figures, other: str) -> Figures:
    """Embedded ÷ ``other``: ratios, their intervals, and which of them are too noisy."""
    found: dict[str, Ratio] = {}
    for case, lanes in figures["warm"].items():
        if EMBEDDED in lanes and other in lanes:
            found[case] = ratio(lanes[EMBEDDED]["ms"], lanes[other]["ms"])
    starts, memory = figures["start"], figures["memory"]
    if EMBEDDED in starts and other in starts:
        pairs = min(len(starts[EMBEDDED]["seconds"]), len(starts[other]["seconds"]))
        found[START] = ratio(starts[EMBEDDED]["seconds"][:pairs], starts[other]["seconds"][:pairs])
    ratios = {name: each.median for name, each in found.items()}
    if EMBEDDED in memory and other in memory:
        ratios[MEMORY] = memory[EMBEDDED]["peak"]["pss_mb"] / memory[other]["peak"]["pss_mb"]
    return {
        "ratios": ratios,
        "intervals": {name: each.interval for name, each in found.items()},
        "noisy": [name for name, each in found.items() if each.is_noisy],
    }
