"""Gives one worker thousands of mixed jobs, and looks whether it loses, confuses or leaks anything.

A worker as on RunPod, in a process of its own, works for a stand-in of RunPod's job API on loopback, with a bucket
that fails at times. The jobs: pictures of many sizes, input files, the sampler on a small checkpoint, animations,
texts, latents, equal jobs, nodes that raise, graphs and inputs that are refused, jobs that run out of their time, jobs
that are stopped while they run or wait. The seed sets their order.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.progress import Progress
from command_line import ExitCode, Failure, check_output_files, finish, read_count, read_number
from soaking.course import Course, Plan, run_course
from soaking.drive import WorkerGone
from soaking.reference import ReferenceFailed, references
from soaking.report import report, write_json
from soaking.verdict import Check, judge, of_pixels

EPILOG = """\
examples:
  scripts/soak --plot soak.png                      2,000 jobs, two at once
  scripts/soak --jobs 10000 --minutes 60 --seed 7   as many of 10,000 as go into an hour
  scripts/soak --jobs 60 --fresh one                a minute

exit codes:
  0    all of it held
  1    something did not, and what; or the worker did not start, or ended
  2    the command line is wrong
  130  interrupted with Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak. Returns the exit code."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return finish("soak", lambda: soak(options), {WorkerGone: ExitCode.FAILED, OSError: ExitCode.FAILED})


def soak(options: argparse.Namespace) -> ExitCode:
    """Run the soak, judge it, and report. Returns the exit code.

    Raises:
        WorkerGone: the worker did not start, or ended early.
        Failure: the small checkpoint could not be made.
    """
    with tempfile.TemporaryDirectory(prefix="comfy-soak-") as folder, Progress() as progress:
        try:
            course = run_course(make_plan(options, Path(folder)), progress)
        except subprocess.CalledProcessError as error:
            last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise Failure(f"the small checkpoint could not be made: {''.join(last)}") from None
        checks = [*judge(course), fresh(course, options, progress)]
        write(course, checks, options, progress)
    return ExitCode.FAILED if any(check.held is False for check in checks) else ExitCode.OK


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line. Ends the program if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--jobs", type=jobs, default=2000, help="how many (default: 2000)")
    add("--seed", type=int, default=1, help="of the order of jobs and faults (default: 1)")
    add("--concurrency", type=int, choices=(1, 2), default=2, help="WORKER_CONCURRENCY (default: 2)")
    add("--backend", choices=("embedded",), default="embedded", help="COMFY_BACKEND (default: embedded)")
    add("--minutes", type=minutes, metavar="M", help="give no more jobs after that long")
    add("--fresh", choices=("each", "one"), default="each", help="compare every distinct graph with a fresh process of "
        "its own, or all of them with one (default: each)")  # fmt: skip
    add("--plot", type=Path, metavar="FILE.png", help="draw memory, latency, open files and threads there")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(arguments)
    check_output_files(parser, options, "plot", "json")
    if options.plot and options.plot.suffix.lower() != ".png":
        parser.error(f"--plot {options.plot}: its name must end with .png")
    return options


def jobs(text: str) -> int:
    """Read a whole number, 10 or above."""
    return read_count(text, 10, "no whole number, 10 or above")


def minutes(text: str) -> float:
    """Read a number of minutes above 0."""
    return read_number(text, "no number of minutes above 0", lambda value: 0 < value < 1e6)


def make_plan(options: argparse.Namespace, folder: Path) -> Plan:
    """The plan that ``options`` ask for."""
    return Plan(options.jobs, options.seed, options.concurrency, options.backend, options.minutes, folder)


def fresh(course: Course, options: argparse.Namespace, progress: Progress) -> Check:
    """Run the requests that were answered without an error in fresh processes, and compare the answers."""
    requests = {name: course.requests[name] for name in course.record.results}
    each = options.fresh == "each"
    progress.begin("fresh processes", len(requests) if each else 1)
    try:
        return of_pixels(course.record, references(requests, course.base, each, progress.advance))
    except ReferenceFailed as error:
        return Check("pixels", held=False, text=str(error))


def write(course: Course, checks: Sequence[Check], options: argparse.Namespace, progress: Progress) -> None:
    """Print the report, and write JSON and the picture if they are wanted."""
    print(report(course, checks))
    if options.json:
        write_json(course, checks, options.json)
        progress.tell(str(options.json))
    if options.plot:
        from soaking.plot import draw

        draw(course, options.plot)
        progress.tell(str(options.plot))


if __name__ == "__main__":
    sys.exit(main())
