"""How many workers a RunPod endpoint needs, and what they cost: a simulation of its queue, its scaler and its billing.

For every choice of worker counts and idle time-outs it prints how long jobs wait, how many wait while a worker starts,
how busy the GPUs are and what it costs. docs/scaling.md says what is modelled and what is not.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Sequence

from command_line import ExitCode, fail, finish
from fleet.options import make_parser, make_plan
from fleet.plan import Plan, Row, cheapest, evaluate
from fleet.report import as_json, headline, table, verdict, warnings
from fleet.traffic import BadInput
from rich.console import Console
from rich.progress import Progress

_TABLE_WIDTH = 140

EPILOG = """\
examples:
  scripts/plan_fleet --job-seconds 4.2 --cold-start 25 --rate 30/min --price-per-hour 2 --target-p95 10
  scripts/plan_fleet --job-trace worker.log --cold-start 25 --arrivals times.txt --price-per-hour 2 --plot plan.png
  scripts/plan_fleet --job-seconds 4.2 --cold-start 25 --rate 8000/day --day-profile 1,1,4,2 --price-per-hour 2 \\
      --max-workers 2,4,8 --active-workers 0,1 --active-price-per-hour 1.5 --json > plan.json

files:
  --job-trace  one number of seconds a line, or the log of a worker on RunPod ('seconds.total' of its JSON lines)
  --arrivals   one time stamp a line: seconds, or ISO 8601 (UTC where it names no zone)

exit codes:
  0    it worked; with --target-p95: a choice meets it
  1    no choice meets the target, no choice can keep up, or a file could not be written
  2    the command line or a file is wrong
  130  interrupted with Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and report. Returns the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    return finish("plan_fleet", lambda: compare(options), {BadInput: ExitCode.USAGE, OSError: ExitCode.FAILED})


def compare(options: argparse.Namespace) -> ExitCode:
    """Simulate every choice, and print the results.

    Raises:
        BadInput: options do not go together, or a file cannot be used.
        OSError: the picture cannot be written.
    """
    plan = make_plan(options)
    rows = simulate(plan)
    if options.plot and any(row.runs for row in rows):
        from fleet.plot import draw

        draw(rows, cheapest(rows, options.target_p95), options.target_p95, headline(plan), options.plot)
    return tell(plan, rows, options)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    A value such as ``-3/min`` is joined to its option. So its reader refuses it, and not argparse, which would take it
    for an option.
    """
    glued: list[str] = []
    for argument in arguments:
        if glued and re.match(r"-\d", argument):
            glued[-1] += f"={argument}"
        else:
            glued.append(argument)
    return make_parser(__doc__ or "", EPILOG).parse_args(glued)


def simulate(plan: Plan) -> list[Row]:
    """Simulate every choice, with a progress bar if standard error is a terminal."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        steps = sum(not plan.is_overloaded(choice) for choice in plan.choices) * plan.repeats
        task = progress.add_task("simulating", total=steps)
        return evaluate(plan, lambda: progress.advance(task))


def tell(plan: Plan, rows: Sequence[Row], options: argparse.Namespace) -> ExitCode:
    """Print the table or JSON, and warnings on standard error. Returns the exit code."""
    target = options.target_p95
    chosen = cheapest(rows, target)
    if options.json:
        print(json.dumps(as_json(rows, chosen, inputs(plan, target)), indent=2))
    else:
        print(headline(plan))
        Console(width=_TABLE_WIDTH, highlight=False).print(table(rows, chosen, target))
        if target is not None:
            print(verdict(chosen, target, plan.repeats))
    for line in warnings(rows, plan.workers_needed):
        fail("plan_fleet", line)
    is_met = any(row.runs for row in rows) if target is None else chosen is not None
    return ExitCode.OK if is_met else ExitCode.FAILED


def inputs(plan: Plan, target_p95_s: float | None) -> dict[str, object]:
    """The inputs of the simulation, for the JSON."""
    return {
        "job_seconds": plan.job_times.mean_s,
        "hours": plan.arrivals.hours,
        "start": dataclasses.asdict(plan.start),
        "scaler": dataclasses.asdict(plan.scaler),
        "prices_per_hour": dataclasses.asdict(plan.prices),
        "last_used_first": plan.last_used_first,
        "repeats": plan.repeats,
        "seed": plan.seed,
        "target_p95_s": target_p95_s,
    }


if __name__ == "__main__":
    sys.exit(main())
