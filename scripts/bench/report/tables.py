"""Builds the tables that are printed."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.contenders.contender import AGAINST, BARE, KNOWN
from bench.contenders.setup import WEBSOCKET
from bench.plan import MEMORY, START
from bench.report.comparison import LIMIT_MS, LIMIT_RATIO
from bench.report.figures import SUFFIXES, Figures

_NAMES = {BARE: "bare executor", KNOWN: "known worker"}


def report(figures: Figures) -> str:
    """The tables of all phases, and remarks on how to read them."""
    parts = [_head(figures)]
    if figures["warm"]:
        parts.append(_table(_WARM_HEAD, _warm_rows(figures)))
    if figures["start"]:
        parts.append(_table(_START_HEAD, _start_rows(figures)))
    if figures["lanes"]:
        parts.append(_table(_LANES_HEAD, _lane_rows(figures)))
    if figures["memory"]:
        parts.append(_table(_MEMORY_HEAD, _memory_rows(figures)))
    if figures["outputs"]:
        parts.append(_table(_OUTPUTS_HEAD, _outputs_rows(figures["outputs"])) + "\n" + _peak(figures["outputs"]))
    if figures["queue"]:
        parts.append(_table(_QUEUE_HEAD, _queue_rows(figures["queue"])))
    if figures.get("changes"):
        parts.append(_table(_CHANGES_HEAD, _change_rows(figures)) + "\n" + _LIMITS)
    return "\n\n".join([*parts, "\n".join(_remarks(figures))]).rstrip()


def _head(figures: Figures) -> str:
    machine, versions = figures["machine"], figures["versions"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, {machine['gpu'] or 'no GPU'}\n"
        f"ComfyUI {versions['comfyui']}, torch {versions['torch']}, Python {versions['python']}"
    )


_WARM_HEAD = ("warm, ms", "", "median", "p95", "min", "over bare", "images/s", "answer kB", "loopback kB", "ratio", "")


def _warm_rows(figures: Figures) -> Iterator[Sequence[str]]:
    for case, lanes in figures["warm"].items():
        shown = case
        for name, lane in lanes.items():
            yield (
                shown, _NAMES.get(name, name), *(_ms(lane[key]) for key in ("median", "p95", "minimum")),
                _ms(lane["overhead_ms"]), f"{lane['images_per_s']:.2f}", _kilobytes(lane["answer_bytes"]),
                "" if name == BARE else _kilobytes(lane["loopback_bytes"]), *_ratio(figures, case, name),
            )  # fmt: skip
            shown = ""


_START_HEAD = ("start, s", "median", "min", "txt2img-tiny", "RSS MB", "run's end", "steps", "ratio", "")


def _start_rows(figures: Figures) -> Iterator[Sequence[str]]:
    for name, start in figures["start"].items():
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in start["steps"].items())
        yield (
            _NAMES.get(name, name), f"{start['median']:.2f}", f"{start['minimum']:.2f}", _median(start["sampled_s"]),
            f"{statistics.median(start['rss_mb']):.0f}", _median(start["run_end_s"]), steps,
            *_ratio(figures, START, name),
        )  # fmt: skip


_LANES_HEAD = ("lane", "embedded", "other", "which is", "ratio", "")


def _lane_rows(figures: Figures) -> Iterator[Sequence[str]]:
    """A row for each lane: seconds, or MB of memory."""
    for lane, sides in figures["lanes"].items():
        medians = [f"{sides[side]['median']:.2f}" for side in ("embedded", "other")]
        ratio = _ratio(figures, lane, WEBSOCKET)  # The ratios without a suffix.
        yield (lane, *medians, _NAMES.get(sides["other_is"], sides["other_is"]), *ratio)


_MEMORY_HEAD = ("memory, MB", "idle PSS", "idle RSS", "peak PSS", "peak RSS", "peak VRAM", "GPU s", "ratio", "")


def _memory_rows(figures: Figures) -> Iterator[Sequence[str]]:
    for name, memory in figures["memory"].items():
        sizes = [memory[when][kind] for when in ("idle", "peak") for kind in ("pss_mb", "rss_mb")]
        gpu = memory["gpu"]
        vram = (f"{gpu['peak_mb'] - gpu['before_mb']:.0f}", f"{gpu['busy_s']:.1f}") if gpu else ("", "")
        yield (_NAMES.get(name, name), *(f"{size:.0f}" for size in sizes), *vram, *_ratio(figures, MEMORY, name))


_OUTPUTS_HEAD = ("outputs, ms", "", "median", "p95", "min", "ratio", "")


def _outputs_rows(outputs: Figures) -> Iterator[Sequence[str]]:
    for name, case in outputs["cases"].items():
        for shown, who, lane, compared in (
            (name, "worker", case["worker"], (f"{case['ratio']:.2f}", _between(case["interval"]))),
            ("", case["other_is"], case["other"], ("", "")),
        ):
            yield (shown, who, *(_ms(lane[key]) for key in ("median", "p95", "minimum")), *compared)


def _peak(outputs: Figures) -> str:
    peak, tensor = outputs["peak_rss_mb"], outputs["tensor_mb"]
    return f"peak RSS above idle: {peak:.0f} MB for a tensor of {tensor:.0f} MB, {peak / tensor:.2f} times as much"


_QUEUE_HEAD = ("pause between two jobs, ms", "median", "p95", "min", "a job by itself")


def _queue_rows(queue: Figures) -> Iterator[Sequence[str]]:
    job = _ms(queue["job_ms"])
    for name, pauses in queue["pauses"].items():
        yield (name, *(_ms(pauses[key]) for key in ("median", "p95", "minimum")), job)
        job = ""


_CHANGES_HEAD = ("embedded beside against", "ratio", "", "difference, ms", "")
_LIMITS = f"ok: at most {LIMIT_RATIO} × or {LIMIT_MS} ms slower; ? the intervals leave it open"


def _change_rows(figures: Figures) -> Iterator[Sequence[str]]:
    """A row for each change. Warm cases have a verdict, starts have none."""
    for what, change in figures["changes"].items():
        verdict = ""
        if "is_within" in change:
            verdict = ("ok" if change["is_within"] else "SLOWER") + ("" if change["is_sure"] else " ?")
        between = _between(figures["intervals_against"][what])
        yield (what, f"{figures['ratios_against'][what]:.2f}", between, f"{change['difference_ms']:+.2f}", verdict)


def _ratio(figures: Figures, what: str, name: str) -> tuple[str, str]:
    """Embedded ÷ the contender ``name``: the ratio and its interval, with a mark if they are too noisy.

    Two checkouts are expected to be equally fast, so their ratio has no mark. The verdicts say more.
    """
    suffix = SUFFIXES.get(name)
    if suffix is None or what not in figures.get("ratios" + suffix, {}):
        return "", ""
    mark = " ?" if name != AGAINST and what in figures["noisy" + suffix] else ""
    return f"{figures['ratios' + suffix][what]:.2f}", _between(figures["intervals" + suffix].get(what)) + mark


def _between(interval: Sequence[float] | None) -> str:
    return f"({interval[0]:.2f}–{interval[1]:.2f})" if interval else ""


def _remarks(figures: Figures) -> Iterator[str]:
    """Lines on how to read the ratios, which of them are noisy, what is missing, and what failed."""
    if not figures["complete"]:
        yield "stopped early: what was not measured by then is missing"
    for other, suffix in SUFFIXES.items():
        if not figures.get("ratios" + suffix):
            continue
        shown = _NAMES.get(other, other)
        if other != WEBSOCKET or WEBSOCKET in figures["settings"]["backends"]:
            yield f"ratio: embedded ÷ {shown}, median of the pairs, with its 95 % interval; below 1 embedded is ahead"
        if other != AGAINST:
            yield from _noise(figures["noisy" + suffix], figures["intervals" + suffix])
    cached = [name for name in figures["settings"]["cached_cases"] if name != "repeat"]
    if cached:
        yield f"no seed to vary in {', '.join(cached)}: measured answers from ComfyUI's cache"
    for failure in figures["failures"]:
        yield f"failed: {failure['what']}, {_NAMES.get(failure['contender'], failure['contender'])}: {failure['error']}"


def _noise(noisy: Sequence[str], intervals: Mapping[str, Sequence[float] | None]) -> Iterator[str]:
    """Lines on what the intervals do not show."""
    texts: dict[str, list[str]] = {"who is ahead": [], "by how much": []}
    for name in noisy:
        interval = intervals[name]
        is_sure = interval is not None and not interval[0] <= 1 <= interval[1]
        texts["by how much" if is_sure else "who is ahead"].append(name)
    for what, found in texts.items():
        if found:
            yield f"? too noisy to tell {what}: {', '.join(found)}"
    if not noisy:
        yield "the machine was quiet enough: every interval is narrow and on one side of 1"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A table as text. Empty columns are left out, and numbers are aligned to the right."""
    lines = [head, *rows]
    columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
    return "\n".join("  ".join(_cell(column, row) for column in columns).rstrip() for row in range(len(lines)))


def _cell(column: Sequence[str], row: int) -> str:
    width = max(map(len, column))
    is_number = all(cell == "" or cell[0].isdigit() or cell[0] == "-" for cell in column[1:]) and "," not in column[1]
    return column[row].rjust(width) if is_number else column[row].ljust(width)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}" if values else ""


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _kilobytes(value: Any) -> str:
    return "" if value is None else f"{value / 1000:.0f}"
