"""Draws the rows as a PNG: cost against waiting, and how busy the GPUs are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter, SymmetricalLogLocator

from fleet.plan import Row

_DPI, _SIZE = 110, (12.0, 5.6)
# The colours of Okabe and Ito, which colour-blind people can tell apart.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_LINES, _MARKERS = ("-", "--", ":", "-."), "sDo^v"
_CORNERS = ((-7, 9), (8, 9), (8, -9), (-7, -9))
_HALO = [withStroke(linewidth=3, foreground="white")]
_LOGARITHMIC_FROM_S = 30.0


@dataclass(frozen=True)
class _Series:
    """Rows that share their idle time-out and their number of active workers, and how they are drawn."""

    label: str
    color: str
    line: str
    marker: str
    size: float
    rows: tuple[Row, ...]

    def style(self) -> dict[str, Any]:
        """The style as matplotlib takes it. The markers of series with active workers are hollow."""
        fill = self.color if self.line == "-" else "white"
        return {
            "color": self.color, "linestyle": self.line, "linewidth": 1.4, "label": self.label,
            "marker": self.marker, "markersize": self.size, "markerfacecolor": fill, "markeredgewidth": 1.6,
        }  # fmt: skip


def draw(rows: Sequence[Row], chosen: Row | None, target_p95_s: float | None, headline: str, path: Path) -> None:
    """Draw the simulated rows, and write the picture to ``path``."""
    simulated = [row for row in rows if row.runs]
    figure, (left, right) = plt.subplots(1, 2, figsize=_SIZE, layout="constrained", width_ratios=(3, 2))
    all_series = list(_all_series(simulated))
    _scale(left, right, simulated)
    for series in all_series:
        _draw_waiting(left, series)
        use = [row.mean("utilisation") for row in series.rows]
        right.plot([row.choice.max_workers for row in series.rows], use, **series.style())
    left.set_ylim(bottom=-0.2 if left.get_yscale() == "symlog" else -0.02 * left.get_ylim()[1])
    if target_p95_s is not None:
        _draw_target(left, target_p95_s)
    handles = [*left.get_legend_handles_labels()[0], *([_ring(left, right, chosen)] if chosen else [])]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.draw_without_rendering()  # Positions on the axes are known only after this.
    _number(left, all_series)
    figure.suptitle(headline, fontsize=9, color="#555555")
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _all_series(rows: Sequence[Row]) -> Iterator[_Series]:
    """A series for each idle time-out (colour, marker) and number of active workers (dashes). Markers get smaller."""
    flex = [row for row in rows if row.choice.has_flex]
    idles = sorted({row.choice.idle_timeout_s for row in flex})
    actives = sorted({row.choice.active_workers for row in flex})
    for (hue, idle), (place, active) in itertools.product(enumerate(idles), enumerate(actives)):
        group = tuple(row for row in flex if (row.choice.active_workers, row.choice.idle_timeout_s) == (active, idle))
        label = f"idle time-out {idle:g} s" + (f", {active} active" if actives != [0] else "")
        if group:
            color, marker = _COLORS[hue % len(_COLORS)], _MARKERS[hue % len(_MARKERS)]
            yield _Series(label, color, _LINES[place % len(_LINES)], marker, max(11.0 - 2.5 * hue, 4.0), group)
    always_on = tuple(row for row in rows if not row.choice.has_flex)
    if always_on:
        yield _Series("all workers active", "#555555", "-", "*", 11.0, always_on)


def _draw_waiting(axes: Axes, series: _Series) -> None:
    """Draw the 95th percentile of waits over cost. Bars go from the run with the least to the run with the most."""
    places = [_place(row) for row in series.rows]
    below = [wait - min(row.values("wait_p95_s")) for (_, wait), row in zip(places, series.rows, strict=True)]
    above = [max(row.values("wait_p95_s")) - wait for (_, wait), row in zip(places, series.rows, strict=True)]
    costs, waits = zip(*places, strict=True)
    axes.errorbar(costs, waits, yerr=(below, above), elinewidth=1, capsize=2, **series.style())


def _place(row: Row) -> tuple[float, float]:
    return row.mean("cost_per_hour"), row.mean("wait_p95_s")


def _draw_target(axes: Axes, target_p95_s: float) -> None:
    axes.axhspan(0, target_p95_s, color="#009E73", alpha=0.07, linewidth=0, zorder=0)
    axes.axhline(target_p95_s, color="#009E73", linewidth=1, zorder=1)
    axes.annotate(
        f"target: {target_p95_s:g} s", (1, target_p95_s), (0, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="bottom", color="#00694C",
    )  # fmt: skip


def _ring(left: Axes, right: Axes, chosen: Row) -> Line2D:
    """Draw a ring around the chosen row in both plots. Returns its entry for the legend."""
    look: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "black", "linestyle": "none"}
    for axes, place in ((left, _place(chosen)), (right, (chosen.choice.max_workers, chosen.mean("utilisation")))):
        axes.plot(*place, markersize=19, zorder=5, **look)
    return Line2D([], [], markersize=11, label="cheapest within the target", **look)


def _number(axes: Axes, all_series: Sequence[_Series]) -> None:
    """Write the number of workers at each point, only once for points of the same number that overlap."""
    written: list[tuple[float, float, int]] = []
    for series, corner in zip(all_series, itertools.cycle(_CORNERS), strict=False):
        for row in series.rows:
            x, y = axes.transData.transform(_place(row))
            most = row.choice.max_workers
            if any(most == other and math.hypot(x - x2, y - y2) < 24 for x2, y2, other in written):
                continue
            written.append((x, y, most))
            axes.annotate(
                str(most), _place(row), corner, textcoords="offset points", ha="right" if corner[0] < 0 else "left",
                va="center", color=series.color, weight="bold", path_effects=_HALO, zorder=6,
            )  # fmt: skip


def _scale(left: Axes, right: Axes, rows: Sequence[Row]) -> None:
    if max(row.mean("wait_p95_s") for row in rows) > _LOGARITHMIC_FROM_S:
        left.set_yscale("symlog", linthresh=1, linscale=0.35)
        left.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=(1, 2, 5)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    left.margins(x=0.09, y=0.12)
    left.set_title("What a short wait costs", loc="left", weight="bold")
    left.set_xlabel("USD an hour; the numbers are max workers")
    left.set_ylabel("p95 of waits, seconds; bars: least and most run")
    right.set_title("Billed time in which the GPUs work", loc="left", weight="bold")
    right.set_xlabel("max workers")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.grid(color="#E8E8E8")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
