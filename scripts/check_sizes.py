"""Says which Python modules, functions and folders of worker/ and scripts/ are larger than the house rules allow."""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from command_line import ExitCode, fail

PROJECT = Path(__file__).resolve().parents[1]
MODULE_LINES, FUNCTION_LINES, FOLDER_FILES = 250, 40, 12
_PACKAGES = ("worker", "scripts")
_EPILOG = f"""\
limits:
  {MODULE_LINES} lines in a module
  {FUNCTION_LINES} lines in a function, from its 'def' to its end
  {FOLDER_FILES} Python files in a folder, without __init__.py

exit codes: 0 all are small enough, 1 some are not, 2 the command line is wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, and print a line for each offence. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/check_sizes.py",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("project", type=Path, nargs="?", default=PROJECT, help="a checkout (default: this one)")
    project = parser.parse_args(arguments).project
    offences = list(find_offences(project))
    for offence in offences:
        fail("check_sizes", offence)
    return ExitCode.FAILED if offences else ExitCode.OK


def find_offences(project: Path) -> Iterator[str]:
    """A line for each module, function and folder that is too large, with its size and the limit."""
    files = [path for package in _PACKAGES for path in sorted((project / package).rglob("*")) if is_python(path)]
    for path in files:
        text, shown = path.read_text(encoding="utf-8"), path.relative_to(project)
        if (lines := len(text.splitlines())) > MODULE_LINES:
            yield f"{shown} has {lines} lines; the limit is {MODULE_LINES}"
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (function.end_lineno or function.lineno) - function.lineno + 1
                if lines > FUNCTION_LINES:
                    yield f"{shown}:{function.lineno}: {function.name} has {lines} lines; the limit is {FUNCTION_LINES}"
    for folder, count in Counter(path.parent for path in files if path.name != "__init__.py").items():
        if count > FOLDER_FILES:
            yield f"{folder.relative_to(project)} holds {count} Python files; the limit is {FOLDER_FILES}"


def is_python(path: Path) -> bool:
    """Whether ``path`` is a Python file, by its ending, or by its first line if it has no ending."""
    if path.suffix or not path.is_file():
        return path.suffix == ".py"
    with path.open("rb") as file:
        first = file.readline()
    return first.startswith(b"#!") and b"python" in first


if __name__ == "__main__":
    sys.exit(main())
