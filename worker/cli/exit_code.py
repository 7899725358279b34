"""The exit codes of ``python -m worker``."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended. ``meaning`` is its text in ``--help``."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    WORKED = 0, "it worked"
    FAILED = 1, "the workflow failed, a job could not run here, the bucket cannot be used, or something is missing"
    USAGE = 2, "the command line, the workflow or an input file is wrong"
    CANNOT_START = 3, "the worker cannot start"
    INTERRUPTED = 130, "interrupted with Ctrl-C or SIGTERM"
