"""The rows as a PNG: what waiting costs, and how busy the GPUs are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter, SymmetricalLogLocator

from fleet.plan import Row

_DPI, _SIZE = 110, (12.0, 5.6)
# The colours of Okabe and Ito, which stay apart for the colour-blind.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_LINES, _MARKERS = ("-", "--", ":", "-."), "osD^v"


@dataclass(frozen=True)
class _Series:
    label: str
    color: str
    line: str
    marker: str
    rows: tuple[Row, ...]


def draw(rows: Sequence[Row], chosen: Row | None, target_p95_s: float | None, headline: str, path: Path) -> None:
    """Draw the rows that were simulated into ``path``."""
    simulated = [row for row in rows if row.runs]
    figure, (left, right) = plt.subplots(1, 2, figsize=_SIZE, layout="constrained", width_ratios=(3, 2))
    for series in _all_series(simulated):
        _draw_waiting(left, series)
        _draw_use(right, series)
    if target_p95_s is not None:
        left.axhspan(0, target_p95_s, color="#009E73", alpha=0.08, linewidth=0)
        left.axhline(target_p95_s, color="#009E73", linewidth=1)
        text = f"target: {target_p95_s:g} s "
        left.annotate(
            text, (1, target_p95_s), xycoords=("axes fraction", "data"), ha="right", va="top", color="#00694C"
        )
    if chosen is not None:
        _ring(left, right, chosen)
    _finish(left, right, simulated)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    figure.suptitle(headline, fontsize=9, color="#555555")
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _all_series(rows: Sequence[Row]) -> Iterator[_Series]:
    """One for each idle time-out (its colour) and number of active workers (its dashes)."""
    idles = sorted({row.choice.idle_timeout_s for row in rows if row.choice.has_flex})
    actives = sorted({row.choice.active_workers for row in rows if row.choice.has_flex})
    for (place, active), (hue, idle) in itertools.product(enumerate(actives), enumerate(idles)):
        group = [row for row in rows if row.choice.has_flex and row.choice.active_workers == active]
        group = [row for row in group if row.choice.idle_timeout_s == idle]
        label = f"idle time-out {idle:g} s" + (f", {active} active" if actives != [0] else "")
        yield _Series(label, _pick(_COLORS, hue), _pick(_LINES, place), _pick(_MARKERS, place), tuple(group))
    always_on = tuple(row for row in rows if not row.choice.has_flex)
    if always_on:
        yield _Series("all workers active", "#555555", "-", "*", always_on)


def _pick(values: Sequence[str], index: int) -> str:
    return values[index % len(values)]


def _draw_waiting(axes: Axes, series: _Series) -> None:
    """Cost and the 95th percentile of waits; bars go from the least run to the most."""
    costs = [row.mean("cost_per_hour") for row in series.rows]
    waits = [row.mean("wait_p95_s") for row in series.rows]
    below = [wait - min(row.values("wait_p95_s")) for wait, row in zip(waits, series.rows, strict=True)]
    above = [max(row.values("wait_p95_s")) - wait for wait, row in zip(waits, series.rows, strict=True)]
    axes.errorbar(
        costs, waits, yerr=(below, above), color=series.color, linestyle=series.line, marker=series.marker,
        label=series.label, markersize=7, linewidth=1.4, elinewidth=1, capsize=2,
    )  # fmt: skip
    for row, cost, wait in zip(series.rows, costs, waits, strict=True):
        axes.annotate(
            str(row.choice.max_workers), (cost, wait), (6, 4), textcoords="offset points", color=series.color,
            weight="bold", fontsize=10, path_effects=[withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip


def _draw_use(axes: Axes, series: _Series) -> None:
    axes.plot(
        [row.choice.max_workers for row in series.rows], [row.mean("utilisation") for row in series.rows],
        color=series.color, linestyle=series.line, marker=series.marker, markersize=7, linewidth=1.4,
    )  # fmt: skip


def _ring(left: Axes, right: Axes, chosen: Row) -> None:
    cost, wait = chosen.mean("cost_per_hour"), chosen.mean("wait_p95_s")
    for axes, x, y in ((left, cost, wait), (right, chosen.choice.max_workers, chosen.mean("utilisation"))):
        axes.plot(x, y, marker="o", markersize=17, markerfacecolor="none", markeredgecolor="black", linestyle="none")
    left.annotate(
        "cheapest within the target", (cost, wait), (0, -18), textcoords="offset points", ha="center", va="top",
        weight="bold", fontsize=9, path_effects=[withStroke(linewidth=3, foreground="white")],
    )  # fmt: skip


def _finish(left: Axes, right: Axes, rows: Sequence[Row]) -> None:
    waits = [row.mean("wait_p95_s") for row in rows]
    if max(waits) > 20 * max(min(waits), 0.05):
        left.set_yscale("symlog", linthresh=1)
        left.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 2, 5)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.set_ylim(bottom=0)
    left.set_xlim(left=0)
    left.set_title("What a short wait costs", loc="left", weight="bold")
    left.set_xlabel("USD an hour; the numbers are max workers")
    left.set_ylabel("seconds that 95 % of jobs wait at most; bars: least and most of the runs")
    right.set_title("How much of the billed time is work", loc="left", weight="bold")
    right.set_xlabel("max workers")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.grid(color="#E8E8E8")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
