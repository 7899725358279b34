"""What the programs of this folder share on the command line: exit codes, one-line failures, readers of options.

It imports only the standard library, since ``install_nodes`` also runs where little else is installed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """How a program ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CANNOT_START = 3
    INTERRUPTED = 130


class Failure(Exception):
    """Ends the program with exit code ``code`` and this text, which is one line."""

    def __init__(self, text: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.code = code


def finish(
    program: str,
    action: Callable[[], int],
    codes: Mapping[type[Exception], ExitCode] | None = None,
    *,
    interrupted: str = "interrupted",
) -> int:
    """Run ``action``. Returns its exit code, or the code of the failure that ended it.

    Args:
        program: the program's name, for the message.
        action: the program, after its command line was read.
        codes: exit codes of further exceptions. The first entry that fits counts. Other exceptions pass through.
        interrupted: the message after Ctrl-C.
    """
    known = codes or {}
    try:
        return action()
    except KeyboardInterrupt:
        return fail(program, interrupted, ExitCode.INTERRUPTED)
    except Failure as failure:
        return fail(program, failure, failure.code)
    except tuple(known) as error:
        return fail(program, error, next(code for kind, code in known.items() if isinstance(error, kind)))


def fail(program: str, error: object, code: ExitCode = ExitCode.FAILED) -> ExitCode:
    """Print on standard error what is wrong, in one line. Returns ``code``."""
    print(f"{program}: {error}", file=sys.stderr)
    return code


def read_number(text: str, otherwise: str, accepts: Callable[[float], bool]) -> float:
    """Read a finite number that ``accepts`` accepts. ``otherwise``: the complaint, such as ``not a number above 0``.

    Raises:
        ArgumentTypeError: ``text`` is no such number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not accepts(value):
        raise argparse.ArgumentTypeError(f"{text!r} is {otherwise}")
    return value


def read_count(text: str, least: int = 1, otherwise: str = "no whole number above 0") -> int:
    """Read a whole number, ``least`` or above, in digits.

    Raises:
        ArgumentTypeError: ``text`` is no such number.
    """
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is {otherwise}")
    return int(text)


def name_reader(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """A reader of names with commas between them. It accepts only names in ``known``, and drops repeated ones."""

    def read(text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        unknown = [name for name in given if name not in known]
        if unknown or not given:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is none of {', '.join(known)}")
        return given

    return read


def check_output_files(parser: argparse.ArgumentParser, options: argparse.Namespace, *names: str) -> None:
    """End the program if the folder of an output file does not exist. ``names``: the options that name such files."""
    for name in names:
        path = getattr(options, name)
        if path and not path.absolute().parent.is_dir():
            parser.error(f"--{name} {path}: there is no such folder")
