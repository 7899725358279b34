"""Starts the command line ``python -m worker``. Without a command it runs ``serve``; ``--help`` lists the others."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable

from worker.cli.exit_code import ExitCode
from worker.cli.options import parse_options
from worker.start_steps import STEPS


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; ``arguments`` default to the process's own. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A path may have letters that the terminal cannot show.
    options = parse_options(sys.argv[1:] if arguments is None else arguments)
    from worker.errors import InvalidJob, StartError

    try:
        with STEPS.step("worker"):
            command = _command(options)
        code = command()
        sys.stdout.flush()
        return code
    except InvalidJob as error:
        return _fail(error, ExitCode.USAGE)
    except StartError as error:
        return _fail(error, ExitCode.CANNOT_START)
    except KeyboardInterrupt:
        return _fail("interrupted", ExitCode.INTERRUPTED)
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - or Python reports the same error when it exits.
        place = error.filename or "the output cannot be written"
        return _fail(f"{place}: {error.strerror or error}", ExitCode.FAILED)


def _command(options: argparse.Namespace) -> Callable[[], int]:
    """Import a command. This is done only here, since it takes a moment, and ``--help`` should not wait."""
    match options.command:
        case "check":
            return _check(options)
        case "convert":
            from worker.cli.convert import convert

            return lambda: convert(options)
        case "editor":
            from worker.cli.editor import editor

            return lambda: editor(options)
        case "index":
            from worker.cli.index.command import index

            return lambda: index(options)
        case "models":
            from worker.cli.models import models

            return lambda: models(options)
        case "prepare":
            from worker.cli.prepare.command import prepare

            return lambda: prepare(options)
        case "serve":
            from worker.cli.serve import serve

            return lambda: serve(options)
        case _:
            from worker.cli.run import run

            return lambda: run(options)


def _check(options: argparse.Namespace) -> Callable[[], int]:
    if options.bucket:
        from worker.cli.check.bucket import check_bucket

        return check_bucket
    if options.timings:
        from worker.cli.check.timings import check_timings

        return check_timings
    from worker.cli.check.command import check

    return check


def _fail(error: object, code: int) -> int:
    print(f"worker: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    STEPS.begin_with_process()
    code = main()
    if "torch" in sys.modules or code == ExitCode.INTERRUPTED:  # A thread may still wait for a server.
        from worker.cli.ending import end_process

        end_process(code)
    sys.exit(code)
