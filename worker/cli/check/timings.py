"""``python -m worker check --timings``: starts as on RunPod, and prints how long each step took."""

from __future__ import annotations

import importlib

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.cli.exit_code import ExitCode
from worker.readiness import expect_warm_up, make_ready
from worker.settings import take_settings
from worker.start_steps import STEPS
from worker.worker import Worker


def check_timings() -> int:
    """Start, run the warm-up workflow, and print the seconds of each step.

    Raises:
        StartError: a setting cannot be read, or ComfyUI cannot start.
    """
    console = Console(highlight=False, soft_wrap=True)
    with STEPS.step("sdk"):
        importlib.import_module("worker.runpod.serve")
    worker = Worker(take_settings().quiet(), say=lambda notice: console.print(str(notice), style="dim", markup=False))
    expect_warm_up(worker)
    with worker:
        make_ready(worker)
        total = STEPS.total() or sum(STEPS.seconds.values())
    console.print()
    console.print(_table(total))
    return ExitCode.WORKED


def _table(total: float) -> Table:
    table = Table("Step", title="Start", title_justify="left", show_edge=False)
    table.add_column("Seconds", justify="right")
    for name, seconds in STEPS.shown(total).items():
        table.add_row(escape(name), f"{seconds:.2f}")
    for name, seconds in STEPS.beside.items():
        table.add_row(f"{escape(name)}, beside these", f"{seconds:.2f}")
    table.add_section()
    table.add_row("total", f"{total:.2f}")
    return table
