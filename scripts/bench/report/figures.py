"""Builds the benchmark's figures for JSON. docs/performance.md documents the schema."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.contenders.contender import AGAINST, BARE, KNOWN, Run
from bench.contenders.setup import EMBEDDED, WEBSOCKET
from bench.machine import machine, versions
from bench.phases.memory import Memory
from bench.phases.outputs import CASES, Outputs
from bench.phases.queue import Queue
from bench.phases.slow_volume import OFF, ON, Waits
from bench.phases.start import Start
from bench.plan import MEMORY, START, Plan
from bench.report.comparison import Change, Ratio, difference, ratio, spread

SCHEMA = 1
SUFFIXES = {WEBSOCKET: "", AGAINST: "_against", KNOWN: "_known"}
"""The ending of the names of ratios, by the contender that embedded is compared with."""
START_LANES = {
    "start-empty-64": (AGAINST, "seconds"),
    "start-txt2img-tiny": (AGAINST, "sampled_s"),
    "start-memory": (AGAINST, "rss_mb"),
    "run-end": (AGAINST, "run_end_s"),
    "start-vs-known": (KNOWN, "seconds"),
}
"""Whom embedded is compared with in each lane of a start, and in which of a start's figures."""
Figures = dict[str, Any]


@dataclass
class Measured:
    """The measurements so far; empty or None if a phase did not run. ``is_complete``: whether the benchmark is over."""

    starts: dict[str, list[Start]] = field(default_factory=dict)
    warm: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    outputs: Outputs | None = None
    queue: Queue | None = None
    is_complete: bool = False
    waits: Waits = field(default_factory=Waits)
    run_ends: dict[str, list[float]] = field(default_factory=dict)


def make_figures(plan: Plan, measured: Measured) -> Figures:
    """All figures of the benchmark."""
    ends = measured.run_ends
    start = {name: _start(runs, ends.get(name, [])) for name, runs in measured.starts.items() if runs}
    figures = {
        "schema": SCHEMA,
        "complete": measured.is_complete,
        "machine": machine(),
        "versions": versions(plan.setup.comfyui.version),
        "settings": _settings(plan),
        "start": start,
        "lanes": dict(_lanes(start, measured.waits)),
        "warm": {case: _case(runs) for case, runs in measured.warm.items()},
        "memory": {name: _memory(taken) for name, taken in measured.memory.items()},
        "outputs": _outputs(measured.outputs) if measured.outputs else {},
        "queue": _queue(measured.queue) if measured.queue else {},
        "failures": [dict(zip(("what", "contender", "error"), each, strict=True)) for each in plan.failures],
    }
    for other, suffix in SUFFIXES.items():
        if other == WEBSOCKET or other in plan.contenders:
            figures |= {name + suffix: value for name, value in _compared(figures, other).items()}
    if AGAINST in plan.contenders:
        figures["changes"] = _changes(figures)
    return figures


def _settings(plan: Plan) -> Figures:
    return {
        "backends": list(plan.backends),
        "against": str(plan.setup.against) if plan.setup.against else None,
        "known_worker": plan.setup.known is not None,
        "phases": list(plan.phases),
        "cases": [case.name for case in plan.cases],
        "cached_cases": [case.name for case in plan.cases if not case.is_varied],
        **asdict(plan.counts),
        "comfy_args": list(plan.setup.settings.comfy_args),
    }


def _start(starts: Sequence[Start], run_ends: Sequence[float]) -> Figures:
    seconds = [start.seconds for start in starts]
    names = dict.fromkeys(name for start in starts for name in start.steps)
    steps = {name: statistics.median(start.steps.get(name, 0.0) for start in starts) for name in names}
    return {"seconds": seconds, **asdict(spread(seconds)), "steps": steps} | {
        "sampled_s": [start.sampled_s for start in starts if start.sampled_s is not None],
        "rss_mb": [start.rss_mb for start in starts],
        "run_end_s": list(run_ends),
    }


def _lanes(start: Figures, waits: Waits) -> Iterator[tuple[str, Figures]]:
    """Each lane of a start in which embedded is compared with another one, whose name is ``other_is``."""
    sides: list[tuple[str, Sequence[float], Sequence[float], str]] = [
        (lane, modes[ON], modes[OFF], f"MODEL_READAHEAD={OFF}") for lane, modes in waits.pairs()
    ]
    for lane, (other, what) in START_LANES.items():
        ours, others = (start.get(name, {}).get(what, []) for name in (EMBEDDED, other))
        sides.append((lane, ours, others, other))
    for lane, ours, others, name in sides:
        count = min(len(ours), len(others))  # One may have failed.
        if count:
            lists = {"embedded": list(ours[:count]), "other": list(others[:count])}
            yield (
                lane,
                {side: {"values": each, **asdict(spread(each))} for side, each in lists.items()} | {"other_is": name},
            )


def _case(runs: Mapping[str, Sequence[Run]]) -> Figures:
    return {name: _contender(lane, runs.get(BARE) if name != BARE else None) for name, lane in runs.items() if lane}


def _contender(runs: Sequence[Run], bare: Sequence[Run] | None) -> Figures:
    milliseconds = [run.ms for run in runs]
    moved = [run.loopback_bytes for run in runs if run.loopback_bytes is not None]
    return {
        "ms": milliseconds,
        **asdict(spread(milliseconds)),
        "overhead_ms": difference(milliseconds, [run.ms for run in bare]).median if bare else None,
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


def _outputs(outputs: Outputs) -> Figures:
    cases: Figures = {}
    for case, times in outputs.ms.items():
        found = ratio(times["worker"], times["other"])
        lanes = {name: {"ms": ms, **asdict(spread(ms))} for name, ms in times.items()}
        cases[case] = {**lanes, "other_is": CASES[case], "ratio": found.median, "interval": found.interval}
    return {"cases": cases, "peak_rss_mb": outputs.peak_rss / 1e6, "tensor_mb": outputs.tensor / 1e6}


def _queue(queue: Queue) -> Figures:
    pauses = {name: queue.pauses_ms(name) for name in queue.intervals_s}
    return {
        "job_ms": queue.job_s * 1000,
        "pauses": {name: {"ms": ms, **asdict(spread(ms))} for name, ms in pauses.items()},
    }


def _compared(figures: Figures, other: str) -> Figures:
    """Embedded ÷ ``other``: the ratios, their intervals, and the names of those that are too noisy."""
    found: dict[str, Ratio] = {what: ratio(*pairs) for what, pairs in _pairs(figures, other).items()}
    ratios, memory = {name: each.median for name, each in found.items()}, figures["memory"]
    if EMBEDDED in memory and other in memory:
        ratios[MEMORY] = memory[EMBEDDED]["peak"]["pss_mb"] / memory[other]["peak"]["pss_mb"]
    return {
        "ratios": ratios,
        "intervals": {name: each.interval for name, each in found.items()},
        "noisy": [name for name, each in found.items() if each.is_noisy],
    }


def _pairs(figures: Figures, other: str) -> dict[str, tuple[list[float], list[float]]]:
    """The times of embedded and of ``other``, turn by turn: milliseconds of warm cases, and seconds of starts."""
    found = {
        case: (lanes[EMBEDDED]["ms"], lanes[other]["ms"])
        for case, lanes in figures["warm"].items()
        if EMBEDDED in lanes and other in lanes
    }
    if other == WEBSOCKET:  # Each lane has its own other side.
        lanes = figures["lanes"].items()
        found |= {lane: (sides["embedded"]["values"], sides["other"]["values"]) for lane, sides in lanes}
    starts = figures["start"]
    if EMBEDDED in starts and other in starts:
        seconds = zip(starts[EMBEDDED]["seconds"], starts[other]["seconds"], strict=False)  # One may have failed.
        ours, theirs = zip(*seconds, strict=True)
        found[START] = (list(ours), list(theirs))
    return found


def _changes(figures: Figures) -> Figures:
    """Embedded compared with the other checkout. Only warm cases have a limit."""
    changes: Figures = {}
    for what, (ours, other) in _pairs(figures, AGAINST).items():
        scale = 1000 if what == START else 1
        change = Change(
            ratio(ours, other), difference([scale * each for each in ours], [scale * each for each in other])
        )
        changes[what] = {"difference_ms": change.difference_ms.median, "interval_ms": change.difference_ms.interval}
        if what != START:
            changes[what] |= {"is_within": change.is_within, "is_sure": change.is_sure}
    return changes
