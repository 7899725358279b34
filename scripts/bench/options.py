"""Reads the command line of ``scripts/benchmark``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from command_line import check_output_files, name_reader, read_count

from bench.contenders.setup import EMBEDDED, WEBSOCKET
from bench.plan import DEFAULT_PHASES, PHASES, Counts
from bench.workload.cases import BUILT_IN
from bench.workload.real import REAL, kept_models

RUNS, QUICK_RUNS = 30, 7
STARTS, QUICK_STARTS = 7, 3
MEMORY_RUNS, QUICK_MEMORY_RUNS = 5, 2
QUEUE_ROUNDS, QUICK_QUEUE_ROUNDS = 8, 3
# Another checkout must have these files, since a contender's process imports them.
_CHECKOUT_FILES = ("worker/__init__.py", "worker/handler.py", "worker/readiness.py")

_EPILOG = f"""\
built-in cases: {", ".join(BUILT_IN)}
of real size, only where --case names them, and for a GPU: {", ".join(REAL)}
  their models have random weights; they are made once, and kept in {kept_models()} (9 GB for all)

phases:
  start    from fresh processes to the first answer
  warm     milliseconds of a job, by case
  memory   of each contender, idle and at its peak
  outputs  handing out images: the worker beside ComfyUI's SaveImage and RunPod's uploader
  queue    the pause between two queued jobs: the worker beside RunPod's own loop
outputs and queue run only where --only names them: they take some minutes more, and compare no backends.

examples:
  scripts/benchmark --quick                                  within five minutes on two cores
  scripts/benchmark --json figures.json --plot plots         thoroughly
  scripts/benchmark --workflow sdxl.json --runs 20           your workflow, with the models of your ComfyUI
  scripts/benchmark --only warm --case empty-64,repeat       two cases, nothing else
  scripts/benchmark --only memory --backend embedded         one contender by itself
  scripts/benchmark --only warm --case sd15-512,sdxl-1024 --runs 10    on a GPU
  scripts/benchmark --only warm --backend embedded --against ../before    has a change made it slower?
  scripts/benchmark --only start --backend embedded --against . --against-env DEFER_IMPORTS=off

Your workflow is a file in the editor's or in API format, a request, or a picture that carries a workflow. Each run
gets another value for every 'seed' and 'noise_seed'. Models come from COMFY_BASE_DIR, as for the worker itself; the
warm phase holds them once for each contender.

exit codes:
  0    it worked
  1    a contender could not start, or a case failed in one; the rest was measured
  2    the command line or a workflow file is wrong
  3    ComfyUI was not found, or cannot be used
  130  stopped with Ctrl-C or SIGTERM; what was measured by then was reported
"""


def parse(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. Ends the program if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark",
        description=description,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    both, default, phases = ",".join((EMBEDDED, WEBSOCKET)), ",".join(DEFAULT_PHASES), ",".join(PHASES)
    add = parser.add_argument
    add("--backend", type=name_reader((EMBEDDED, WEBSOCKET)), default=both, help=f"who takes part (default: {both})")
    add("--only", type=name_reader(PHASES), default=default, metavar="PHASE,…", help=f"of {phases} (default: "
        f"{default})")  # fmt: skip
    add("--case", type=name_reader((*BUILT_IN, *REAL)), metavar="NAME,…", help="built-in cases (default: "
        "all small ones, or none beside --workflow)")  # fmt: skip
    add("--workflow", type=Path, nargs="+", action="extend", metavar="FILE", help="workflows of your own")
    add("--runs", type=read_count, help=f"runs of each case (default: {RUNS})")
    add("--quick", action="store_true", help="fewer runs: within five minutes on two cores")
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help="write every figure there, after each case; docs/performance.md has the schema",
    )
    add("--plot", type=Path, metavar="DIR", help="draw latency.png, start.png and memory.png there")
    add("--against", type=Path, metavar="TREE", help="another checkout of this project, which takes part beside "
        "embedded in start, warm and memory, on the same ComfyUI")  # fmt: skip
    add("--against-env", type=_read_variable, action="append", default=[], metavar="NAME=VALUE", help="a variable for "
        "that checkout alone: with --against ., what a setting changes")  # fmt: skip
    add("--known-worker", type=Path, metavar="DIR", help="a checkout of the public worker-comfyui, which takes part "
        "as well; it needs its own requirements, and port 8188")  # fmt: skip
    options = parser.parse_args(arguments)
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.known_worker and not (options.known_worker / "handler.py").is_file():
        parser.error(f"--known-worker {options.known_worker}: there is no handler.py")
    if options.against:
        missing = [name for name in _CHECKOUT_FILES if not (options.against / name).is_file()]
        if missing:
            parser.error(f"--against {options.against}: no checkout of this project, it has no {missing[0]}")
        if EMBEDDED not in options.backend:
            parser.error("--against is compared with embedded, which --backend leaves out")
    elif options.against_env:
        parser.error("--against-env needs --against; for this same checkout: --against .")
    check_output_files(parser, options, "json")


def _read_variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    return name, value


def counts(options: argparse.Namespace) -> Counts:
    """How often each thing is measured, by ``options``."""
    quick = options.quick
    runs = options.runs or (QUICK_RUNS if quick else RUNS)
    return Counts(
        runs,
        starts=min(runs, QUICK_STARTS if quick else STARTS),
        memory_runs=min(runs, QUICK_MEMORY_RUNS if quick else MEMORY_RUNS),
        queue_rounds=min(runs, QUICK_QUEUE_ROUNDS if quick else QUEUE_ROUNDS),
    )
