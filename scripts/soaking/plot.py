"""Draws the course of a soak as a PNG: memory, latency, open files and threads over time."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from soaking.course import Course
from soaking.verdict import RSS_FROM, RSS_LIMIT, latencies

_DPI, _SIZE = 110, (11.0, 8.6)
_APART = 0.07  # Least distance of labels, as a share of the width.
# The colours of Okabe and Ito, which colour-blind people can tell apart, and a marker for each.
_KINDS = {
    "pictures": ("#56B4E9", "o"), "inputs": ("#009E73", "s"),
    "sampler": ("#CC79A7", "D"), "other outputs": ("#B8A800", "v"), "failing or refused": ("#8C8C8C", "x"),
    "slow or timed out": ("#E69F00", "^"), "bucket or platform failed": ("#D55E00", "P"),
}  # fmt: skip
_SHOWN_AS = {
    "unique": "pictures", "failing": "failing or refused", "refused": "failing or refused",
    "slow": "slow or timed out", "timed out": "slow or timed out",
}  # fmt: skip


def draw(course: Course, path: Path) -> None:
    """Draw ``course``, and write the picture to ``path``."""
    figure, (memory, latency, holdings) = plt.subplots(
        3, 1, figsize=_SIZE, sharex=True, layout="constrained", height_ratios=(3, 4, 3)
    )
    _draw_memory(memory, course)
    _draw_latency(latency, course)
    _draw_holdings(holdings, course)
    holdings.set_xlabel("minutes")
    holdings.set_xlim(0, course.rests[-1].at / 60 * 1.005)
    _number_jobs(memory, course)
    about, plan = course.about, course.plan
    place = f"{about['machine']['cpu']}, {about['machine']['cores']} cores; ComfyUI {about['versions']['comfyui']}"
    title = f"{len(course.record.jobs):,} mixed jobs through one worker, {plan.concurrency} at once, seed {plan.seed}"
    memory.set_title(title, loc="left", weight="bold", fontsize=13, pad=56)
    memory.annotate(place, (0, 1), (0, 42), xycoords="axes fraction", textcoords="offset points", fontsize=9,
                    color="#555555")  # fmt: skip
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _draw_memory(axes: Axes, course: Course) -> None:
    """Draw all samples, and the measurements at rest with the band in which they must stay."""
    samples, rests = course.samples, course.rests
    axes.plot([s.at / 60 for s in samples], [s.rss for s in samples], color="#56B4E9", linewidth=0.8, label="at work")
    axes.plot([r.at / 60 for r in rests], [r.rss for r in rests], "o-", color="#0072B2", markersize=4, label="at rest")
    first = next((rest for rest in rests if rest.job >= RSS_FROM), None)
    if first is not None:
        low, high = (first.rss * (1 + side * RSS_LIMIT) for side in (-1, 1))
        axes.fill_between(
            [first.at / 60, rests[-1].at / 60], low, high, color="#009E73", alpha=0.15, linewidth=0,
            label=f"within {RSS_LIMIT:.0%} of job {first.job}",
        )  # fmt: skip
    settled = [s.rss for s in samples if s.at > rests[0].at]
    axes.set_ylim(0.97 * min(r.rss for r in rests), 1.02 * max(settled))
    _finish(axes, "Memory: RSS, MB", lift=18)


def _draw_latency(axes: Axes, course: Course) -> None:
    """Draw a mark for each answer, on a logarithmic scale."""
    shown: dict[str, list[tuple[float, float]]] = {}
    for kind, values in latencies(course).items():
        shown.setdefault(_SHOWN_AS.get(kind, kind), []).extend(values)
    for kind, (color, marker) in _KINDS.items():
        if kind in shown:
            at, seconds = zip(*shown[kind], strict=True)
            axes.scatter(
                [each / 60 for each in at], [1000 * each for each in seconds], s=11, color=color, marker=marker,
                alpha=0.65, linewidths=1 if marker == "x" else 0, label=kind,
            )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    _finish(axes, "Latency of each answer, from when its job is handed out: ms, logarithmic")


def _draw_holdings(axes: Axes, course: Course) -> None:
    """Draw open files, threads and connections. At work, open files include connections."""
    minutes = [sample.at / 60 for sample in course.samples]
    rest_minutes = [rest.at / 60 for rest in course.rests]
    for name, color in (("files", "#0072B2"), ("threads", "#E69F00")):
        counts = [getattr(sample, name) for sample in course.samples]
        axes.plot(minutes, counts, color=color, linewidth=0.6, alpha=0.45)
        at_rest = [getattr(rest, name) for rest in course.rests]
        label = "open files" if name == "files" else "threads"
        axes.plot(rest_minutes, at_rest, "o-", color=color, markersize=4, label=label)
    connections = [rest.connections.total() for rest in course.rests]
    axes.plot(rest_minutes, connections, "s-", color="#CC79A7", markersize=4, label="connections kept")
    axes.set_ylim(0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, "Open files, threads, connections: thick at rest, thin at work (files with connections)")


def _number_jobs(axes: Axes, course: Course) -> None:
    """Write numbers of jobs above the top plot: the first, the last, and those between them that have room."""
    first, *rests, last = course.rests
    marked = [first, last]
    for rest in rests:
        if all(abs(rest.at - other.at) > _APART * last.at for other in marked):
            marked.append(rest)
    upper = axes.secondary_xaxis("top")
    upper.set_xticks([rest.at / 60 for rest in marked], [f"job {rest.job:,}" for rest in marked])
    upper.tick_params(length=2, labelsize=8, colors="#555555")
    upper.spines["top"].set_visible(False)


def _finish(axes: Axes, title: str, lift: int = 4) -> None:
    axes.annotate(title, (0, 1), (0, lift), xycoords="axes fraction", textcoords="offset points", fontsize=10)
    axes.grid(color="#E8E8E8")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, markerscale=1.6)
