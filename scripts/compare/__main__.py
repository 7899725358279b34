"""Runs node packs and workflows on a stock ComfyUI server and on the worker, and says what differs.

Use it before you deploy: it shows whether the worker imports your packs as ComfyUI's own server does, and whether an
answer has everything that your workflows save and show.
"""

from __future__ import annotations

import itertools
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.progress import Progress
from command_line import ExitCode, finish

from compare.differences import Difference, of_packs, of_runs, with_varying
from compare.each_node import each_node
from compare.observed import Seen
from compare.options import Case, Options, parse
from compare.report import Report, as_json, print_report
from compare.sides import SECOND_SERVER, SERVER, WORKER, Places, observe
from worker.embedded.start.source import find_source
from worker.errors import InvalidJob, StartError
from worker.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare. Returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    codes = {InvalidJob: ExitCode.USAGE, StartError: ExitCode.CANNOT_START, OSError: ExitCode.FAILED}
    return finish("compare_packs", lambda: compare(arguments), codes)


def compare(arguments: Sequence[str] | None) -> ExitCode:
    """Run everything on both sides, and report.

    Raises:
        InvalidJob: a workflow file cannot be used.
        StartError, Failure: a side does not start.
        OSError: a file cannot be written.
    """
    settings = load_settings().quiet()
    user = find_source(settings.comfyui_path, settings.comfy_base_dir)
    options = parse(__doc__ or "", arguments, user.base / "custom_nodes")
    with ExitStack() as stack:
        progress = stack.enter_context(Progress())
        bases = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-packs-")))
        files = (options.keep or bases / "files").absolute()
        report = compared(options, Places(settings, user, bases, files), progress)
        print_report(report)
        write_files(report, options, progress)
    return ExitCode.FAILED if report.differs else ExitCode.OK


def compared(options: Options, places: Places, progress: Progress) -> Report:
    """Observe the server, then the worker, then a second server with what differs.

    Raises:
        Failure: a side does not start.
    """
    cases, untried = list(options.cases), dict[str, str]()

    def plan(seen: Seen) -> list[Case]:
        if options.each_node:
            more, left_out = each_node(seen.classes, {pack.stem for pack in options.packs})
            cases.extend(more)
            untried.update(left_out)
        return cases

    server = observe(SERVER, options, plan, places, progress)
    worker = observe(WORKER, options, lambda _: cases, places, progress)
    found = differences(server, worker, cases)
    unsure = [case for case in cases if any(one.where == case.name for one in found)]
    if found:
        again = observe(SECOND_SERVER, options, lambda _: unsure, places, progress)
        found = with_varying(found, differences(server, again, unsure))
    names = {pack.name for pack in options.packs}
    return Report(places.user.version, names, server, worker, found, untried)


def differences(server: Seen, other: Seen, cases: Sequence[Case]) -> list[Difference]:
    """What differs in packs and classes, then in each workflow."""
    runs = (of_runs(case.name, server.runs[case.name], other.runs[case.name]) for case in cases)
    return [*of_packs(server, other), *itertools.chain.from_iterable(runs)]


def write_files(report: Report, options: Options, progress: Progress) -> None:
    """Write JSON and the page, if they are wanted."""
    if options.json:
        options.json.write_text(json.dumps(as_json(report), indent=2) + "\n", encoding="utf-8")
        progress.tell(str(options.json))
    if options.html:
        from compare.page import page

        options.html.write_text(page(report), encoding="utf-8")
        progress.tell(str(options.html))


if __name__ == "__main__":
    sys.exit(main())
