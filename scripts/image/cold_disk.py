"""Measures what it saves to read the program's files ahead on a cold disk: a start with and without, in turn.

Before each start the kernel drops its page cache, so this needs root, and slows down whatever else runs on the machine.
Pages that another process has mapped stay: let no other Python run. Each start is `python -m worker run` of one small
picture, from a fresh process until it has ended. A machine with one core, or with all files in memory, shows no gain.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "scripts"))

from bench.report.comparison import ratio  # noqa: E402 - found by the line above.
from command_line import ExitCode, Failure, finish, read_count  # noqa: E402

_DROP = Path("/proc/sys/vm/drop_caches")
_LISTER = PROJECT / "scripts" / "image" / "program_files.py"
_WORKFLOW = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "cold"}},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/image/cold_disk.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=read_count, default=9, help="starts with, and starts without (default: 9)")
    options = parser.parse_args(arguments)
    return finish("cold_disk", lambda: measure(options.pairs))


def measure(count: int) -> ExitCode:
    """Start the worker ``count`` times with and without, and print each pair and the ratio.

    Raises:
        Failure: the page cache cannot be dropped, or the worker does not start.
    """
    if not os.access(_DROP, os.W_OK):
        raise Failure(f"{_DROP} cannot be written: run this as root, on Linux", ExitCode.CANNOT_START)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "workflow.json").write_text(json.dumps(_WORKFLOW), encoding="utf-8")
        _checked([sys.executable, str(_LISTER), "list", str(folder / "files.json")])
        ahead: list[float] = []
        alone: list[float] = []
        for turn in range(count):
            for seconds, reads in ((ahead, True), (alone, False)) if turn % 2 else ((alone, False), (ahead, True)):
                seconds.append(_start(folder, reads_ahead=reads))
            print(f"read ahead {ahead[-1]:.2f} s, without {alone[-1]:.2f} s: {ahead[-1] / alone[-1]:.2f}", flush=True)
    found = ratio(ahead, alone)
    interval = f" ({found.interval[0]:.2f}–{found.interval[1]:.2f})" if found.interval else ""
    print(f"read ahead ÷ without: {found.median:.2f}{interval}, median of {count} pairs and its 95 % interval")
    return ExitCode.OK


def _start(folder: Path, *, reads_ahead: bool) -> float:
    """Seconds of one start, with no file of the program in memory."""
    os.sync()
    _DROP.write_text("3", encoding="ascii")
    time.sleep(0.5)
    began = time.monotonic()
    reader = None
    if reads_ahead:
        reader = subprocess.Popen([sys.executable, "-I", "-S", str(_LISTER), "read", str(folder / "files.json")])
    _checked([sys.executable, "-m", "worker", "run", str(folder / "workflow.json"), "--out", str(folder / "out")])
    seconds = time.monotonic() - began
    if reader is not None:
        reader.wait()
    return seconds


def _checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise Failure(f"'{Path(command[1]).name}' ended with {done.returncode}: {''.join(last)}", ExitCode.FAILED)


if __name__ == "__main__":
    sys.exit(main())
