"""Runs commands, and ends them if this process is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_packs.failure import PackFailed

_GRACE_S = 15


@dataclass(frozen=True)
class Finished:
    """A command that has ended. ``output``: standard output and error together; empty if they were shown."""

    code: int
    output: str


def run(command: Sequence[str], cwd: Path, environment: Mapping[str, str], *, show: bool = False) -> Finished:
    """Run ``command``. With ``show``, its output goes where this process's output goes.

    Raises:
        PackFailed: there is no such program.
    """
    try:
        # Use a session of its own, so that the command gets Ctrl-C only once, from ``_end``. Then pip undoes a step
        # that is half done. A second Ctrl-C would interrupt this.
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.STDOUT,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise PackFailed(f"{command[0]} is not installed here") from None
    with process:
        try:
            output, _ = process.communicate()
        except BaseException:
            _end(process)
            raise
    return Finished(process.returncode, (output or b"").decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.communicate(timeout=_GRACE_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return
