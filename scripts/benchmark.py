"""Compares the embedded backend with the websocket backend on a stock ComfyUI server, on this machine.

Measures cold starts, warm latency and memory, and prints each with the ratio of the two: embedded ÷ websocket, run by
run, so that below 1 embedded is ahead. Without --workflow it runs small built-in cases that need no download.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cases import BUILT_IN, Case, file_cases
from bench.contender import EMBEDDED, WEBSOCKET, Place
from bench.figures import Figures, make_figures
from bench.memory import measure_memory
from bench.models import make_models
from bench.plan import MEMORY, PHASES, START, WARM, Plan
from bench.progress import Progress
from bench.report import report
from bench.start import measure_starts
from bench.warm import measure_warm

from worker.embedded.start.source import find_source
from worker.errors import InvalidJob, StartError
from worker.settings import load_settings

EXIT_FAILED, EXIT_USAGE, EXIT_CANNOT_START, EXIT_INTERRUPTED = 1, 2, 3, 130
RUNS, QUICK_RUNS = 30, 7
STARTS, QUICK_STARTS = 5, 3
MEMORY_RUNS, QUICK_MEMORY_RUNS = 5, 2

EPILOG = f"""\
built-in cases: {", ".join(BUILT_IN)}

examples:
  scripts/benchmark --quick                                  all of it, within five minutes on two cores
  scripts/benchmark --json figures.json --plot plots         all of it, thoroughly
  scripts/benchmark --workflow sdxl.json --runs 20           your workflow, with the models of your ComfyUI
  scripts/benchmark --only warm --case empty-64,repeat       two cases, nothing else
  scripts/benchmark --only memory --backend embedded         one contender by itself

Your workflow is an API-format workflow, a request as sent to the endpoint, or a PNG that carries a workflow. Each run
gets another value for every 'seed' and 'noise_seed'. Models come from COMFY_BASE_DIR, as for the worker itself; the
warm phase holds them once for each contender.

exit codes:
  0    it worked
  1    a contender could not start, or a case failed in one; the rest was measured
  2    the command line or a workflow file is wrong
  3    ComfyUI was not found, or cannot be used
  130  interrupted with Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cases = chosen_cases(options.case, options.workflow or [])
        with tempfile.TemporaryDirectory(prefix="comfy-benchmark-") as folder, Progress() as progress:
            place, comfyui = prepare(Path(folder), cases, options, progress)
            figures = measure(make_plan(options, cases, place, progress), comfyui)
            write(figures, options, progress)
    except InvalidJob as error:
        return fail(error, EXIT_USAGE)
    except StartError as error:
        return fail(error, EXIT_CANNOT_START)
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return fail(f"a model for the built-in cases could not be made: {''.join(last)}", EXIT_CANNOT_START)
    except OSError as error:
        return fail(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return fail("interrupted", EXIT_INTERRUPTED)
    return EXIT_FAILED if figures["failures"] else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ends the program where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark",
        description=(__doc__ or ""),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    both, phases = ",".join((EMBEDDED, WEBSOCKET)), ",".join(PHASES)
    add = parser.add_argument
    add("--backend", type=names((EMBEDDED, WEBSOCKET)), default=both, help=f"who takes part (default: {both})")
    add("--only", type=names(PHASES), default=phases, metavar="PHASE,…", help=f"of {phases} (default: all)")
    add("--case", type=names(tuple(BUILT_IN)), metavar="NAME,…", help="built-in cases (default: all, or none beside "
        "--workflow)")  # fmt: skip
    add("--workflow", type=Path, nargs="+", action="extend", metavar="FILE", help="workflows of your own")
    add("--runs", type=count, help=f"runs of each case (default: {RUNS})")
    add("--quick", action="store_true", help="fewer runs: within five minutes on two cores")
    add("--json", type=Path, metavar="FILE", help="write every figure there; docs/performance.md has the schema")
    add("--plot", type=Path, metavar="DIR", help="draw latency.png, start.png and memory.png there")
    add("--known-worker", type=Path, metavar="DIR", help="a checkout of the public worker-comfyui, which takes part "
        "as a third; it needs its own requirements, and port 8188")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.known_worker and not (options.known_worker / "handler.py").is_file():
        parser.error(f"--known-worker {options.known_worker}: there is no handler.py")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such folder")
    return options


def names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """A reader of names with commas between them."""

    def read(text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        unknown = [name for name in given if name not in known]
        if unknown or not given:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is none of {', '.join(known)}")
        return given

    return read


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def chosen_cases(named: Sequence[str] | None, files: Sequence[Path]) -> tuple[Case, ...]:
    """The built-in cases ``named`` (all where nothing was chosen), then those of ``files``."""
    built_in = named if named is not None else (() if files else tuple(BUILT_IN))
    return (*(BUILT_IN[name] for name in built_in), *file_cases(files))


def prepare(folder: Path, cases: Sequence[Case], options: argparse.Namespace, progress: Progress) -> tuple[Place, str]:
    """Find ComfyUI, and make the models of ``cases``; where they run, and ComfyUI's version."""
    settings = load_settings()
    own_base = folder / "base"
    own_base.mkdir()
    is_own = not options.workflow
    source = find_source(settings.comfyui_path, own_base if is_own else settings.comfy_base_dir)
    models = sorted({name for case in cases for name in case.models})
    if models and set(options.only) & {WARM, MEMORY}:
        progress.begin("making small models", 1)
        make_models(own_base / "models", models)
    further = own_base / "models" if models and not is_own else None
    known = options.known_worker.absolute() if options.known_worker else None
    return Place(settings, source.base, further, folder, known), source.version


def make_plan(options: argparse.Namespace, cases: tuple[Case, ...], place: Place, progress: Progress) -> Plan:
    """What ``options`` ask for."""
    quick = options.quick
    runs = options.runs or (QUICK_RUNS if quick else RUNS)
    starts = min(runs, QUICK_STARTS if quick else STARTS)
    memory_runs = min(runs, QUICK_MEMORY_RUNS if quick else MEMORY_RUNS)
    return Plan(options.backend, options.only, cases, runs, starts, memory_runs, place, progress)


def measure(plan: Plan, comfyui: str) -> Figures:
    """Run the phases. Starts come last: by then every file that they read has been read before."""
    warm = measure_warm(plan) if WARM in plan.phases else {}
    memory = measure_memory(plan) if MEMORY in plan.phases else {}
    starts = measure_starts(plan) if START in plan.phases else {}
    return make_figures(plan, comfyui, starts, warm, memory)


def write(figures: Figures, options: argparse.Namespace, progress: Progress) -> None:
    """Print the report; write JSON and plots where they are wanted."""
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        progress.tell(str(options.json))
    if options.plot:
        from bench.plots import draw

        for path in draw(figures, options.plot):
            progress.tell(str(path))


def fail(error: object, code: int) -> int:
    """Say what is wrong, in one line."""
    print(f"benchmark: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
