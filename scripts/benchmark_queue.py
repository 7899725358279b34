"""How long a worker idles between two queued jobs: RunPod's own loop, and this worker's with one and two jobs at once.

Three processes, each with a stand-in for RunPod's job API on loopback, get batches of the same jobs in turn. A job is
EmptyImage → ImageBlur → SaveImage, each of a colour of its own. The pause is the time from one result to the next, less
the time that a job takes by itself, which is the median of what the worker with one job at once logs as ``run``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runpod_api import JobApi

PROJECT = Path(__file__).resolve().parents[1]
SDK_LOOP = """
import runpod
from worker import Worker
from worker.handler import make_handler
with Worker() as worker:
    runpod.serverless.start({"handler": make_handler(worker)})
"""
VARIANTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "RunPod's loop": (["-c", SDK_LOOP], {"RUNPOD_LOG_LEVEL": "ERROR"}),
    "worker, 1 at once": (["-m", "worker"], {"WORKER_CONCURRENCY": "1"}),
    "worker, 2 at once": (["-m", "worker"], {"WORKER_CONCURRENCY": "2"}),
}


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark_queue", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="batches for each (default: 8)")
    parser.add_argument("--batch", type=int, default=6, help="jobs in a batch (default: 6)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there as well")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(started(*variant)) for name, variant in VARIANTS.items()}
        colors = itertools.count(1, 97)
        intervals: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for round_number in range(options.rounds + 1):
            for name, (api, _) in workers.items():
                times = batch(api, [f"{round_number}-{index}" for index in range(options.batch)], colors)
                if round_number:  # The first warms up.
                    intervals[name] += [later - sooner for sooner, later in itertools.pairwise(times)]
        runs = logged_runs(workers["worker, 1 at once"][1])
    work = statistics.median(runs)
    figures = {"work_s": work, "intervals_s": intervals}
    print(report(work, intervals))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


@contextlib.contextmanager
def started(arguments: list[str], environment: dict[str, str]) -> Iterator[tuple[JobApi, Path]]:
    """A worker at its stand-in, and its log; it is asking for jobs."""
    with JobApi() as api, tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        variables = os.environ | {"COMFY_LOG_LEVEL": "WARNING"} | api.environment() | environment
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=PROJECT, env=variables, stdout=stream, stderr=stream
            )
        try:
            api.wait(lambda: api.polls or process.poll() is not None, 120)
            if process.poll() is not None:
                raise SystemExit(f"benchmark_queue: a worker did not start:\n{log.read_text()[-2000:]}")
            yield api, log
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # RunPod's loop leaves its heartbeat behind.
            process.wait()


def batch(api: JobApi, job_ids: list[str], colors: Iterator[int]) -> list[float]:
    """Queue jobs together; when each result came, in seconds."""
    with api.changed:
        api.queue += [{"id": job_id, "input": {"workflow": graph(next(colors))}} for job_id in job_ids]
        api.changed.notify_all()
    for job_id in job_ids:
        if "error" in api.result(job_id, 60):
            raise SystemExit(f"benchmark_queue: a job failed: {api.result(job_id)}")
    return sorted(api.results(job_id)[0].at for job_id in job_ids)


def graph(color: int) -> dict[str, Any]:
    """Some work for the executor: a blur of 512²."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": color}},
        "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 12, "sigma": 4.0}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "ComfyUI"}},
    }


def logged_runs(log: Path) -> list[float]:
    """The ``run`` seconds of each job, from the worker's log, without the first batch's."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line["seconds"]["run"] for line in lines if "run" in line.get("seconds", {})][6:]


def report(work: float, intervals: dict[str, list[float]]) -> str:
    """The table that is printed."""
    lines = [
        f"a job by itself: {work * 1000:.0f} ms",
        f"{'pause between two jobs':<26}{'median':>9}{'p5':>9}{'p95':>9}   ms",
    ]
    for name, values in intervals.items():
        pauses = sorted((value - work) * 1000 for value in values)
        cuts = statistics.quantiles(pauses, n=20)
        lines.append(f"{name:<26}{statistics.median(pauses):>9.0f}{cuts[0]:>9.0f}{cuts[-1]:>9.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
