"""Draws the figures as PNG files, 1000 pixels wide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.contenders.contender import AGAINST, BARE, KNOWN
from bench.contenders.setup import EMBEDDED, WEBSOCKET
from bench.report.figures import SUFFIXES, Figures

_DPI, _WIDTH = 100, 10.0
# The colours of Okabe and Ito, which colour-blind people can tell apart.
_COLORS = {EMBEDDED: "#0072B2", AGAINST: "#009E73", WEBSOCKET: "#E69F00", KNOWN: "#CC79A7", BARE: "#8C8C8C"}
_LABELS = {
    EMBEDDED: "embedded", AGAINST: "against", WEBSOCKET: "websocket", KNOWN: "known worker", BARE: "bare executor",
}  # fmt: skip
_STEPS = {
    "interpreter": ("interpreter", "#D9D9D9"),
    "worker": ("worker", "#56B4E9"),
    "torch": ("torch", "#D55E00"),
    "core": ("ComfyUI's core", "#0072B2"),
    "packs": ("node packs", "#7FC8A9"),
    "nodes": ("nodes", "#009E73"),
    "cuda": ("CUDA", "#76B900"),
    "warm-up": ("warm-up", "#B3669E"),
    "rest": ("rest of the start", "#8C8C8C"),
    "server": ("server answers", "#E69F00"),
    "handler": ("handler ready", "#F0E442"),
    "first result": ("first result", "#CC79A7"),
}
_NOTICEABLE_S = 0.005
_PROCESSES = {"worker": ("worker process", ""), "server": ("ComfyUI server", "//")}


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Draw what was measured into ``folder``, which is made if needed. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[str, Callable[[Figures, Path], None]] = {"warm": _latency, "start": _start, "memory": _memory}
    names = {"warm": "latency.png", "start": "start.png", "memory": "memory.png"}
    paths = []
    for phase, drawing in drawings.items():
        if figures[phase]:
            paths.append(folder / names[phase])
            drawing(figures, paths[-1])
    return paths


def _latency(figures: Figures, path: Path) -> None:
    """Draw a box and all runs for each case and contender, on a logarithmic scale."""
    cases = figures["warm"]
    lanes = [name for name in _LABELS if any(name in case for case in cases.values())]
    figure, axes = plt.subplots(figsize=(_WIDTH, 1.9 + len(cases) * (0.26 * len(lanes) + 0.2)), layout="constrained")
    ticks, place = [], 0.0
    for case in cases.values():
        top = place
        for name in [lane for lane in lanes if lane in case]:
            _box(axes, case[name]["ms"], place, _COLORS[name])
            place += 1
        ticks.append((top + place - 1) / 2)
        axes.axhline(place - 0.2, color="#E0E0E0", linewidth=1)
        place += 0.6
    axes.set_yticks(ticks, list(cases))
    axes.set_ylim(place - 0.8, -0.8)
    _log_scale(axes)
    for name in lanes:
        axes.plot([], [], color=_COLORS[name], linewidth=6, label=_LABELS[name])
    figure.legend(loc="outside lower center", ncols=len(lanes), frameon=False)
    compared = [name for name in SUFFIXES if figures.get("ratios" + SUFFIXES[name])]
    for number, other in enumerate(compared):
        _annotate(axes, figures, other, 1.02 + 0.15 * number, dict(zip(cases, ticks, strict=True)))
    unit = "milliseconds, logarithmic; a dot is one run, a box goes from p25 to p75"
    if figures.get("noisy") or figures.get("noisy_known"):
        unit += "; ? is too noisy to tell"
    _finish(axes, figures, "Warm latency of one job", unit)
    figure.draw_without_rendering()  # The columns are placed relative to the axes: room for all takes a second layout.
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _box(axes: Axes, values: list[float], place: float, color: str) -> None:
    axes.boxplot(
        [values], positions=[place], widths=0.7, orientation="horizontal", showfliers=False, patch_artist=True,
        manage_ticks=False, whis=(5, 95), medianprops={"color": "black", "linewidth": 1.6},
        boxprops={"facecolor": color, "alpha": 0.45, "edgecolor": color},
        whiskerprops={"color": color}, capprops={"color": color},
    )  # fmt: skip
    spread = [place + 0.22 * ((index * 0.618) % 1 - 0.5) for index in range(len(values))]
    axes.scatter(values, spread, s=9, color=color, linewidths=0, alpha=0.8)


def _log_scale(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _annotate(axes: Axes, figures: Figures, other: str, column: float, ticks: Mapping[str, float]) -> None:
    """Write the ratios in a column right of the plot. ``ticks``: the position of each case."""
    suffix = SUFFIXES[other]
    head = f"embedded ÷\n{_LABELS[other]}  "
    axes.annotate(head, (column, 1), xycoords="axes fraction", va="bottom", fontsize=9)
    for case, tick in ticks.items():
        value = figures["ratios" + suffix].get(case)
        if value is not None:
            mark = " ?" if other != AGAINST and case in figures["noisy" + suffix] else ""
            axes.annotate(
                f"{value:.2f}{mark}", (column, tick), xycoords=("axes fraction", "data"), va="center", weight="bold"
            )  # fmt: skip


def _start(figures: Figures, path: Path) -> None:
    """Draw a bar of all steps for each contender."""
    starts = figures["start"]
    figure, axes = plt.subplots(figsize=(_WIDTH, 1.9 + 0.65 * len(starts)), layout="constrained")
    seen: set[str] = set()
    for place, start in enumerate(starts.values()):
        left = 0.0
        for step, seconds in start["steps"].items():
            if seconds < _NOTICEABLE_S:
                continue
            label, color = _STEPS.get(step, _STEPS["rest"])
            axes.barh(
                place, seconds, left=left, color=color, edgecolor="white", height=0.6,
                label=label if step not in seen else None,
            )  # fmt: skip
            seen.add(step)
            if seconds > 0.05 * max(each["median"] for each in starts.values()):
                ink = "white" if color == "#0072B2" else "black"
                axes.text(left + seconds / 2, place, f"{seconds:.1f}", ha="center", va="center", color=ink)
            left += seconds
        axes.text(left, place, f"  {start['median']:.1f} s", va="center", weight="bold")
    axes.set_yticks(range(len(starts)), [_LABELS[name] for name in starts])
    axes.invert_yaxis()
    axes.set_xlim(0, axes.get_xlim()[1] * 1.08)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    _finish(axes, figures, "Cold start: from fresh processes to the first answer", "seconds, medians")
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _memory(figures: Figures, path: Path) -> None:
    """Draw idle and peak memory of each contender, the peak by process."""
    memory = figures["memory"]
    figure, axes = plt.subplots(figsize=(_WIDTH, 2.1 + 0.8 * len(memory)), layout="constrained")
    for place, (name, taken) in enumerate(memory.items()):
        color, left = _COLORS[name], 0.0
        for process, size in taken["peak_pss_mb_of"].items():
            label, hatch = _PROCESSES[process]
            axes.barh(place + 0.2, size, left=left, height=0.36, color=color, hatch=hatch, edgecolor="white")
            if size > 0.12 * max(each["peak"]["pss_mb"] for each in memory.values()):
                box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
                axes.text(left + size / 2, place + 0.2, label, ha="center", va="center", fontsize=9, bbox=box)
            left += size
        axes.text(left, place + 0.2, f"  peak {left:.0f}", va="center", weight="bold")
        idle = taken["idle"]["pss_mb"]
        axes.barh(place - 0.2, idle, height=0.36, color=color, alpha=0.45)
        axes.text(idle, place - 0.2, f"  idle {idle:.0f}", va="center")
    axes.set_yticks(range(len(memory)), [_LABELS[name] for name in memory])
    axes.invert_yaxis()
    axes.set_xlim(0, axes.get_xlim()[1] * 1.12)
    _finish(axes, figures, "Memory of all processes, each contender by itself", "MB (PSS: shared pages count once)")
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _finish(axes: Axes, figures: Figures, title: str, unit: str) -> None:
    machine, versions = figures["machine"], figures["versions"]
    place = f"{machine['cpu']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}; ComfyUI {versions['comfyui']}"
    axes.set_title(title, loc="left", weight="bold", fontsize=13, pad=22)
    axes.annotate(
        place, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=9, color="#555555"
    )
    axes.set_xlabel(unit)
    axes.grid(axis="x", color="#E8E8E8")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
