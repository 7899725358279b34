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
from soaking.course import Course, Plan, run_course
from soaking.drive import WorkerGone
from soaking.reference import ReferenceFailed, references
from soaking.report import report, write_json
from soaking.verdict import Check, judge, of_pixels

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130

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
    """Run the soak; returns the exit code."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="comfy-soak-") as folder, Progress() as progress:
            course = run_course(make_plan(options, Path(folder)), progress)
            checks = [*judge(course), fresh(course, options, progress)]
            write(course, checks, options, progress)
    except (WorkerGone, OSError) as error:
        return fail(error, EXIT_FAILED)
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return fail(f"the small checkpoint could not be made: {''.join(last)}", EXIT_FAILED)
    except KeyboardInterrupt:
        return fail("interrupted", EXIT_INTERRUPTED)
    return EXIT_FAILED if any(check.held is False for check in checks) else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ends the program where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--jobs", type=count, default=2000, help="how many (default: 2000)")
    add("--seed", type=int, default=1, help="of the order of jobs and faults (default: 1)")
    add("--concurrency", type=int, choices=(1, 2), default=2, help="WORKER_CONCURRENCY (default: 2)")
    add("--backend", choices=("embedded",), default="embedded", help="COMFY_BACKEND (default: embedded)")
    add("--minutes", type=minutes, metavar="M", help="give no more jobs after that long")
    add("--fresh", choices=("each", "one"), default="each", help="compare every distinct graph with a fresh process of "
        "its own, or all of them with one (default: each)")  # fmt: skip
    add("--plot", type=Path, metavar="FILE.png", help="draw memory, latency, open files and threads there")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(arguments)
    for name in ("plot", "json"):
        path = getattr(options, name)
        if path and not path.absolute().parent.is_dir():
            parser.error(f"--{name} {path}: there is no such folder")
    if options.plot and options.plot.suffix.lower() != ".png":
        parser.error(f"--plot {options.plot}: its name must end with .png")
    return options


def count(text: str) -> int:
    """A whole number, 10 or above."""
    if not text.isdecimal() or int(text) < 10:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 10 or above")
    return int(text)


def minutes(text: str) -> float:
    """A number above 0."""
    try:
        if 0 < float(text) < 1e6:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes above 0")


def make_plan(options: argparse.Namespace, folder: Path) -> Plan:
    """What ``options`` ask for."""
    return Plan(options.jobs, options.seed, options.concurrency, options.backend, options.minutes, folder)


def fresh(course: Course, options: argparse.Namespace, progress: Progress) -> Check:
    """Run what was answered well in fresh processes, and compare."""
    requests = {name: course.requests[name] for name in course.record.results}
    each = options.fresh == "each"
    progress.begin("fresh processes", len(requests) if each else 1)
    try:
        return of_pixels(course.record, references(requests, course.base, each, progress.advance))
    except ReferenceFailed as error:
        return Check("pixels", held=False, text=str(error))


def write(course: Course, checks: Sequence[Check], options: argparse.Namespace, progress: Progress) -> None:
    """Print the report; write JSON and the picture where they are wanted."""
    print(report(course, checks))
    if options.json:
        write_json(course, checks, options.json)
        progress.tell(str(options.json))
    if options.plot:
        from soaking.plot import draw

        draw(course, options.plot)
        progress.tell(str(options.plot))


def fail(error: object, code: int) -> int:
    """Say what is wrong, in one line."""
    print(f"soak: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
