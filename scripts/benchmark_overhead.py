"""What the worker adds to ComfyUI's bare executor: EmptyImage 64² → SaveImage, warm, alternating in one process.

``ours`` is the handler, from the job's dict to the answer's dict. ``bare`` is what every design must do: validate,
execute, read the file, encode it as base64. Each run has a colour of its own, so that nothing comes from a cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench.bare import bare_executor
from graphs import solid

from worker import Worker
from worker.errors import WorkerError
from worker.handler import make_handler


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark_overhead", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=200, help="pairs to measure (default: 200)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there as well")
    options = parser.parse_args()
    try:
        with Worker() as worker:
            figures = measure(worker, options.runs)
    except WorkerError as error:
        print(f"benchmark_overhead: {error}", file=sys.stderr)
        return 3
    print(report(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(worker: Worker, runs: int) -> dict[str, Any]:
    """Milliseconds of ``runs`` pairs after a warm-up, ``ours`` and ``bare`` in turn."""
    if worker.runtime is None:
        raise RuntimeError("the worker is not open")
    bare = bare_executor(worker)
    handle = make_handler(worker)
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    loop = asyncio.new_event_loop()
    for index in range(-20, runs):
        color = (index + 21) * 97
        start = time.perf_counter()
        answer = loop.run_until_complete(handle({"id": "b", "input": {"workflow": solid(color)}}))
        ours = time.perf_counter() - start
        ran = bare(solid(color + 1))
        if index >= 0:
            times["ours"].append(ours * 1000)
            times["bare"].append(ran.ms)
        if not answer["images"][0]["data"] or not ran.files:
            raise RuntimeError("a run gave no picture")
    return {
        "comfyui": worker.runtime.source.version,
        "python": platform.python_version(),
        "torch": worker.runtime.device()["torch"],
        "device": worker.runtime.device()["name"],
        "runs": runs,
        "milliseconds": times,
        "added_ms": statistics.median(times["ours"]) - statistics.median(times["bare"]),
    }


def report(figures: dict[str, Any]) -> str:
    """The table that is printed."""
    lines = [
        f"ComfyUI {figures['comfyui']}, torch {figures['torch']}, Python {figures['python']}, {figures['device']}, "
        f"{figures['runs']} pairs",
        f"{'':<6}{'median':>9}{'p5':>9}{'p95':>9}   ms",
    ]
    for name, values in figures["milliseconds"].items():
        cuts = statistics.quantiles(values, n=20)
        lines.append(f"{name:<6}{statistics.median(values):>9.2f}{cuts[0]:>9.2f}{cuts[-1]:>9.2f}")
    lines.append(f"the worker adds {figures['added_ms']:.2f} ms to the median")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
