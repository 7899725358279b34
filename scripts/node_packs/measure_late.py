"""Measures what it saves to import node packs when a job needs them (LAZY_CUSTOM_NODES): each pair in turn.

It makes packs that take a while to import, and their index. Two ratios are printed, each with its spread:

  first job   many packs, a job that needs one of them ÷ the same job where only that pack is installed
  all packs   a job that needs all packs ÷ the same job where all are imported at the start

Each value is the time of `python -m worker run` from a fresh process until it has ended.
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
from command_line import ExitCode, Failure, finish, read_count, read_number  # noqa: E402

_PACK = """
import time
time.sleep({seconds})

class {name}:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "run", "test", True

    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{"text": ("STRING", {{"default": ""}})}}}}

    def run(self, text):
        return {{"ui": {{"text": [text]}}}}

NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/node_packs/measure_late.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pairs", type=read_count, default=7, help="pairs of starts for each ratio (default: 7)")
    parser.add_argument("--packs", type=read_count, default=30, help="how many packs there are (default: 30)")
    parser.add_argument("--seconds", type=_seconds, default=0.5, help="how long each import takes (default: 0.5)")
    options = parser.parse_args(arguments)
    return finish("measure_late", lambda: measure(options.pairs, options.packs, options.seconds))


def _seconds(text: str) -> float:
    return read_number(text, "no number of seconds, 0 or above", lambda number: number >= 0)


def measure(pairs: int, packs: int, seconds: float) -> ExitCode:
    """Make the packs, measure, and print each pair and the ratios.

    Raises:
        Failure: the worker does not start, or its job fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        names = [f"Late{number}" for number in range(packs)]
        many, one = _base(folder / "many", names, seconds), _base(folder / "one", names[:1], seconds)
        for base in (many, one):
            _run(["index"], base, lazy=False)
        _job(folder / "first.json", names[:1])
        _job(folder / "all.json", names)
        lanes = {
            "first job": (folder / "first.json", (many, True), (one, False)),
            "all packs": (folder / "all.json", (many, True), (many, False)),
        }
        for lane, (job, ours, other) in lanes.items():
            _compare(lane, job, ours, other, pairs)
    return ExitCode.OK


def _compare(lane: str, job: Path, ours: tuple[Path, bool], other: tuple[Path, bool], pairs: int) -> None:
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(pairs):
        for side in (0, 1) if turn % 2 else (1, 0):
            base, lazy = (ours, other)[side]
            taken[side].append(_run(["run", str(job), "--out", str(job.parent / "out")], base, lazy=lazy))
        print(f"{lane}: {taken[0][-1]:.2f} s ÷ {taken[1][-1]:.2f} s = {taken[0][-1] / taken[1][-1]:.3f}", flush=True)
    found, single = ratio(*taken), sorted(a / b for a, b in zip(*taken, strict=True))
    interval = f", 95 % interval {found.interval[0]:.3f}–{found.interval[1]:.3f}" if found.interval else ""
    print(f"{lane}: median {found.median:.3f} of {pairs} pairs, {single[0]:.3f}–{single[-1]:.3f}{interval}", flush=True)


def _base(folder: Path, names: Sequence[str], seconds: float) -> Path:
    for name in names:
        pack = folder / "custom_nodes" / name
        pack.mkdir(parents=True)
        (pack / "__init__.py").write_text(_PACK.format(name=name, seconds=seconds), encoding="utf-8")
    return folder


def _job(file: Path, names: Sequence[str]) -> None:
    graph = {str(index): {"class_type": name, "inputs": {"text": name}} for index, name in enumerate(names)}
    file.write_text(json.dumps(graph), encoding="utf-8")


def _run(command: list[str], base: Path, *, lazy: bool) -> float:
    environment = {"COMFY_BASE_DIR": str(base), "LAZY_CUSTOM_NODES": str(lazy).lower(), "HOME": str(base)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "worker", *command],
        cwd=PROJECT, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode or (lazy and "LAZY_CUSTOM_NODES=true, but" in done.stdout + done.stderr):
        last = done.stderr.strip().splitlines()[-1:]
        raise Failure(f"'worker {command[0]}' ended with {done.returncode}: {''.join(last)}", ExitCode.FAILED)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
