"""Reports the rows: as a table with warnings and a verdict, or as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.table import Table

from fleet.endpoint import Choice
from fleet.plan import Plan, Row
from fleet.traffic import DrawnTimes, PoissonArrivals

_COLUMNS = (
    "max", "active", "idle s", "wait p50 s", "wait p95 s", "met a start", "GPU busy", "USD/h", "USD/1000 jobs", ""
)  # fmt: skip


def table(rows: Sequence[Row], chosen: Row | None, target_p95_s: float | None) -> Table:
    """A table with a line for each choice. Brackets hold the least and the most of all runs."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in _COLUMNS:
        shown.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for row in rows:
        mark = (
            "◀ cheapest" if row is chosen else "meets" if target_p95_s is not None and row.meets(target_p95_s) else ""
        )
        style = "bold green" if row is chosen else None if row.runs else "dim"
        shown.add_row(*_cells(row), mark, style=style)
    return shown


def _cells(row: Row) -> Iterator[str]:
    choice = row.choice
    yield from (str(choice.max_workers), str(choice.active_workers), idle_text(choice))
    if not row.runs:
        yield from ("grows", "grows", *["–"] * 4)
        return
    yield from (_spread(row.values("wait_p50_s")), _spread(row.values("wait_p95_s")))
    yield from (f"{row.mean('cold_share'):.1%}", f"{row.mean('utilisation'):.0%}")
    yield from (f"{row.mean('cost_per_hour'):.3f}", f"{row.mean('cost_per_1000_jobs'):.2f}")


def _spread(values: Sequence[float]) -> str:
    mean = f"{math.fsum(values) / len(values):.1f}"
    least, most = f"{min(values):.1f}", f"{max(values):.1f}"
    return mean if least == most else f"{mean} ({least}–{most})"


def idle_text(choice: Choice) -> str:
    """The idle time-out as it is shown; "–" if there are only active workers."""
    return f"{choice.idle_timeout_s:g}" if choice.has_flex else "–"


def named(choice: Choice) -> str:
    """The choice in words, such as ``3 workers (1 active), idle time-out 30 s``."""
    noun = "worker" if choice.max_workers == 1 else "workers"
    idle = f", idle time-out {idle_text(choice)} s" if choice.has_flex else ""
    return f"{choice.max_workers} {noun} ({choice.active_workers} active){idle}"


def warnings(rows: Sequence[Row], needed: int) -> Iterator[str]:
    """A line for each number of workers that cannot keep up. ``needed``: the smallest number that can."""
    for most, row in {row.choice.max_workers: row for row in rows}.items():
        workers = "1 worker" if most == 1 else f"{most} workers"
        if not row.runs:
            yield (
                f"{workers}: jobs bring {row.load:.2f} times the work that can be done, so the queue grows without "
                f"bound; it takes at least {needed}"
            )
        elif row.load >= 1:
            yield f"{workers}: the recorded jobs bring {row.load:.2f} times the work that can be done while they arrive"
        elif row.peak_load >= 1:
            yield (
                f"{workers}: in the busiest part of the day jobs bring {row.peak_load:.2f} times the work that can be "
                "done; the queue grows until it is over"
            )


def verdict(chosen: Row | None, target_p95_s: float, runs: int) -> str:
    """A line that says which choice is the cheapest within the target."""
    if chosen is None:
        return f"No choice keeps 95 % of waits within {target_p95_s:g} s in every run: try more workers or active ones."
    times = "the run" if runs == 1 else f"each of {runs} runs"
    return (
        f"Cheapest with 95 % of waits within {target_p95_s:g} s in {times}: {named(chosen.choice)}, "
        f"{chosen.mean('cost_per_hour'):.3f} USD/h."
    )


def as_json(rows: Sequence[Row], chosen: Row | None, inputs: dict[str, Any]) -> dict[str, Any]:
    """All figures of all runs, for JSON."""
    listed = [
        dataclasses.asdict(row.choice)
        | {"load": row.load, "peak_load": row.peak_load, "overloaded": not row.runs}
        | {"runs": [dataclasses.asdict(run) for run in row.runs]}
        for row in rows
    ]
    return {
        "schema": 1,
        "inputs": inputs,
        "choices": listed,
        "cheapest": next((index for index, row in enumerate(rows) if row is chosen), None),
    }


def headline(plan: Plan) -> str:
    """What was simulated, in one line."""
    arrivals, times, start = plan.arrivals, plan.job_times, plan.start
    rate = f"{arrivals.rate * 3600:.4g} jobs an hour" if isinstance(arrivals, PoissonArrivals) else "recorded arrivals"
    kind = times.distribution if isinstance(times, DrawnTimes) else "measured"
    flashboot = f" ({start.flashboot_share:.0%} {start.flashboot_s:g} s)" if start.flashboot_share else ""
    return (
        f"{rate} for {arrivals.hours:.3g} h, {times.mean_s:.3g} s each ({kind}), start {start.cold_s:g} s{flashboot}, "
        f"{plan.scaler.kind} {plan.scaler.value:g}, mean of {plan.repeats} runs (least–most)"
    )
