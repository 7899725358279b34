"""Compares the embedded backend with the websocket backend on a stock ComfyUI server, on this machine.

Measures cold starts, warm latency and memory, and prints each with the ratio of the two: embedded ÷ websocket, run by
run, so that below 1 embedded is ahead. Without --workflow it runs small built-in cases that need no download.
At the start it says about how long it takes. If it is stopped, it reports what it has measured by then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

from bench.contenders.setup import Setup
from bench.estimate import about
from bench.options import counts, parse
from bench.phases.memory import measure_memory
from bench.phases.outputs import measure_outputs
from bench.phases.queue import measure_queue
from bench.phases.run_end import measure_run_ends
from bench.phases.slow_volume import measure_slow_volume
from bench.phases.start import measure_starts
from bench.phases.warm import measure_warm
from bench.plan import MEMORY, OUTPUTS, QUEUE, START, WARM, Plan
from bench.progress import Progress
from bench.report.figures import Figures, Measured, make_figures
from bench.report.tables import report
from bench.workload.cases import BUILT_IN, Case, file_cases
from bench.workload.models import make_models
from bench.workload.real import REAL, make_real_models
from bench.workload.real_checkpoints import NAMES
from command_line import ExitCode, Failure, finish

from worker.embedded.start.source import find_source
from worker.errors import InvalidJob, StartError
from worker.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns the exit code."""
    options = parse(__doc__ or "", arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    codes = {InvalidJob: ExitCode.USAGE, StartError: ExitCode.CANNOT_START, OSError: ExitCode.FAILED}
    return finish("benchmark", lambda: benchmark(options), codes)


def benchmark(options: argparse.Namespace) -> ExitCode:
    """Measure and report. If it is stopped, report what was measured until then.

    Raises:
        InvalidJob: a workflow file cannot be used.
        StartError, Failure: there is no ComfyUI, or it cannot be used; or it was stopped.
        OSError: a file cannot be written.
    """
    cases = chosen_cases(options.case, options.workflow or [])
    with tempfile.TemporaryDirectory(prefix="comfy-benchmark-") as folder, Progress() as progress:
        setup = prepare(Path(folder), cases, options, progress)
        plan = Plan(options.backend, options.only, cases, counts(options), setup, progress)
        progress.tell(about(plan))
        measured = Measured()
        try:
            with contextlib.closing(measure(plan, measured)) as steps:
                for _ in steps:
                    write_json(make_figures(plan, measured), options)
            measured.is_complete = True
        except KeyboardInterrupt:
            write(make_figures(plan, measured), options, progress)
            raise Failure("interrupted; what was measured until then stands above", ExitCode.INTERRUPTED) from None
        figures = make_figures(plan, measured)
        write(figures, options, progress)
    return ExitCode.FAILED if figures["failures"] else ExitCode.OK


def chosen_cases(named: Sequence[str] | None, files: Sequence[Path]) -> tuple[Case, ...]:
    """The built-in cases ``named``, then those of ``files``. If neither is given, all small built-in cases."""
    built_in = named if named is not None else (() if files else tuple(BUILT_IN))
    return (*((BUILT_IN | REAL)[name] for name in built_in), *file_cases(files))


def prepare(folder: Path, cases: Sequence[Case], options: argparse.Namespace, progress: Progress) -> Setup:
    """Find ComfyUI, and make the models that ``cases`` need."""
    settings = load_settings()
    own_base = folder / "base"
    own_base.mkdir()
    is_own = not options.workflow
    source = find_source(settings.comfyui_path, own_base if is_own else settings.comfy_base_dir)
    models = sorted({name for case in cases for name in case.models})
    if models and set(options.only) & {START, WARM, MEMORY}:
        progress.begin("making small models", 1)
        try:
            make_models(own_base / "models", [name for name in models if name not in NAMES])
            make_real_models(own_base / "models", models)
        except subprocess.CalledProcessError as error:
            last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
            text = f"a model for the built-in cases could not be made: {''.join(last)}"
            raise Failure(text, ExitCode.CANNOT_START) from None
    further = own_base / "models" if models and not is_own else None
    known, against = (path.absolute() if path else None for path in (options.known_worker, options.against))
    return Setup(settings, source, further, folder, known, against, dict(options.against_env))


def measure(plan: Plan, measured: Measured) -> Generator[None, None, None]:
    """Run the phases, and add to ``measured``. Yields after each case.

    Starts come last, so that the files that they read are in the system's cache by then.
    """
    phases = plan.phases
    for case, runs in measure_warm(plan) if WARM in phases else ():
        measured.warm[case] = runs
        yield
    for name, memory in measure_memory(plan) if MEMORY in phases else ():
        measured.memory[name] = memory
        yield
    if OUTPUTS in phases:
        measured.outputs = measure_outputs(plan)
        yield
    if QUEUE in phases:
        measured.queue = measure_queue(plan)
        yield
    for starts in measure_starts(plan) if START in phases else ():
        measured.starts = starts
        yield
    for ends in measure_run_ends(plan) if plan.measures_run_ends else ():
        measured.run_ends = ends
        yield
    for waits in measure_slow_volume(plan) if plan.measures_volume else ():
        measured.waits = waits
        yield


def write(figures: Figures, options: argparse.Namespace, progress: Progress) -> None:
    """Print the report, and write JSON and plots if they are wanted."""
    print(report(figures), flush=True)
    if write_json(figures, options):
        progress.tell(str(options.json))
    if options.plot:
        from bench.report.plots import draw

        for path in draw(figures, options.plot):
            progress.tell(str(path))


def write_json(figures: Figures, options: argparse.Namespace) -> bool:
    """Write JSON. Returns whether it is wanted. A reader never finds half of it."""
    if not options.json:
        return False
    unfinished = options.json.with_name(f".{options.json.name}.part")
    unfinished.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(options.json)
    return True


if __name__ == "__main__":
    sys.exit(main())
