"""The command line: ``python -m worker run FILE`` and ``python -m worker check``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path

EXIT_FAILED, EXIT_USAGE, EXIT_CANNOT_START, EXIT_INTERRUPTED = 1, 2, 3, 130

_EPILOG = """\
exit codes:
  0    it worked
  1    the workflow failed, or a job could not run here
  2    the command line, the workflow or an input file is wrong
  3    the worker cannot start
  130  interrupted with Ctrl-C

Settings come from environment variables; 'python -m worker check' prints them all.
"""

_RUN_EPILOG = """\
examples:
  python -m worker run examples/landscape.json
  python -m worker run workflow.json --image photo.png --set 3.seed=42 --out results
  python -m worker run request.json --json | jq '.files[].path'
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; ``arguments`` default to the process's own. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A path may have letters that the terminal's coding lacks.
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return EXIT_USAGE
    from worker.errors import InvalidJob, StartError

    try:
        if options.command == "check":
            from worker.commands.check import check

            return check()
        from worker.commands.run import run

        code = run(options)
        sys.stdout.flush()
        return code
    except InvalidJob as error:
        return _fail(error, EXIT_USAGE)
    except StartError as error:
        return _fail(error, EXIT_CANNOT_START)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - or Python complains again when it ends.
        return _fail(f"the output cannot be written ({error.strerror})", EXIT_FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker",
        description="Runs ComfyUI workflows inside this process.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run one workflow and write its files",
        description="Run one workflow and write the files that it saves.",
        epilog=_RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="an API-format workflow, a request as sent to the endpoint, or a PNG that carries a workflow",
    )
    run.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="[NAME=]PATH",
        help="an input file, under the NAME that the workflow uses (default: its file name); may be repeated",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NODE.INPUT=VALUE",
        help="change one input of a node, given by id or title; VALUE is JSON, or else text; may be repeated",
    )
    run.add_argument("--out", type=Path, default=Path("output"), metavar="DIR", help="where files go (default: output)")
    run.add_argument(
        "--json", action="store_true", help="print the result as JSON on standard output, and nothing else"
    )
    commands.add_parser(
        "check",
        help="print settings and what a job would find here; fails where none could run",
        description="Print every setting, ComfyUI, the device, model folders and node packs. "
        "Ends with 0 if a job could run, 1 or 3 if not.",
    )
    return parser


def _fail(error: object, code: int) -> int:
    print(f"worker: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
