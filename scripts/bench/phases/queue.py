"""Measures the pause between two queued jobs: with RunPod's own loop, and with this worker at one and two jobs at once.

Three processes, each with a stand-in for RunPod's job API on loopback, get batches of the same jobs in turn. A job is
EmptyImage → ImageBlur → SaveImage, and each job has another colour. The pause is the time from one result to the next,
minus the time of a job by itself: the median of the times that the worker with one job at once logs as ``run``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from graphs import Graph, node
from runpod_api import JobApi

from bench.contenders.process import PROJECT, ContenderFailed
from bench.contenders.setup import EMBEDDED, Setup
from bench.plan import QUEUE, Plan
from worker.embedded.start.device import cuda_device_count

BATCH = 6
_START_S, _JOB_S = 120, 60
_SDK_LOOP = """
import runpod
from worker import Worker
from worker.handler import make_handler
with Worker() as worker:
    runpod.serverless.start({"handler": make_handler(worker)})
"""
ONE_AT_ONCE = "worker, 1 at once"
_WORKERS: dict[str, tuple[list[str], dict[str, str]]] = {
    "RunPod's loop": (["-c", _SDK_LOOP], {"RUNPOD_LOG_LEVEL": "ERROR"}),
    ONE_AT_ONCE: (["-m", "worker"], {"WORKER_CONCURRENCY": "1"}),
    "worker, 2 at once": (["-m", "worker"], {"WORKER_CONCURRENCY": "2"}),
}


@dataclass(frozen=True)
class Queue:
    """``job_s``: seconds of a job by itself. ``intervals_s``: by worker, seconds from each result to the next."""

    job_s: float
    intervals_s: dict[str, list[float]]

    def pauses_ms(self, worker: str) -> list[float]:
        """Milliseconds between two jobs. A value is below 0 if its job took less than the median."""
        return [(interval - self.job_s) * 1000 for interval in self.intervals_s[worker]]


@dataclass(frozen=True)
class _Worker:
    """A worker that asks ``api`` for jobs, and its log."""

    api: JobApi
    log: Path


def measure_queue(plan: Plan) -> Queue | None:
    """Run all batches. None if a worker fails."""
    plan.progress.begin("queue", (plan.counts.queue_rounds + 1) * len(_WORKERS))
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in _WORKERS:
            context = _started(name, plan.setup)
            workers[name] = plan.attempt(QUEUE, name, partial(stack.enter_context, context))
        running = {name: worker for name, worker in workers.items() if worker}
        return _measured(plan, running) if len(running) == len(_WORKERS) else None


def _measured(plan: Plan, workers: dict[str, _Worker]) -> Queue | None:
    colors = itertools.count(1, 97)
    intervals: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(plan.counts.queue_rounds + 1):
        for name, worker in workers.items():
            graphs = list(itertools.islice(map(_blurred, colors), BATCH))
            times = plan.attempt(QUEUE, name, partial(_batch, worker.api, number, graphs))
            if times is None:
                return None
            if number:  # The first batch only warms up.
                intervals[name] += [later - sooner for sooner, later in itertools.pairwise(times)]
            plan.progress.advance()
    return Queue(statistics.median(_logged_runs(workers[ONE_AT_ONCE].log)), intervals)


@contextlib.contextmanager
def _started(name: str, setup: Setup) -> Iterator[_Worker]:
    """Start a worker that asks its stand-in for jobs.

    Raises:
        ContenderFailed: the worker did not start.
    """
    arguments, variables = _WORKERS[name]
    log = setup.folder / f"{name}.log"
    with JobApi() as api, log.open("wb") as stream:
        given = api.environment(COMFY_LOG_LEVEL="WARNING", TMPDIR=str(setup.folder), **variables)
        # As on RunPod, a worker without a GPU ends unless it has --cpu.
        given["COMFY_ARGS"] = shlex.join((*setup.flags(), *(() if cuda_device_count() else ("--cpu",))))
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=setup.environment(EMBEDDED, **given),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            _wait(api, lambda: api.polls or process.poll() is not None, _START_S, "it asked for no job")
            if process.poll() is not None:
                raise ContenderFailed(f"it did not start: {''.join(log.read_text().splitlines()[-1:])[:300]}")
            yield _Worker(api, log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # The group: RunPod's loop would leave its heartbeat behind.
            process.wait()


def _batch(api: JobApi, number: int, graphs: Sequence[Graph]) -> list[float]:
    """Queue jobs together. Returns when each result came, by ``time.monotonic``.

    Raises:
        ContenderFailed: a job failed, or gave no result.
    """
    jobs = {f"{number}-{index}": graph for index, graph in enumerate(graphs)}
    with api.changed:
        api.queue += [{"id": job_id, "input": {"workflow": graph}} for job_id, graph in jobs.items()]
        api.changed.notify_all()
    times = []
    for job_id in jobs:
        _wait(api, partial(api.results, job_id), _JOB_S, "a job gave no result")
        (post,) = api.results(job_id)
        if "error" in post.body:
            raise ContenderFailed(f"a job failed: {str(post.body)[:300]}")
        times.append(post.at)
    return sorted(times)


def _wait(api: JobApi, what: Callable[[], Any], timeout_s: float, otherwise: str) -> None:
    try:
        api.wait(what, timeout_s)
    except AssertionError:
        raise ContenderFailed(f"{otherwise} within {timeout_s:.0f} s") from None


def _blurred(color: int) -> Graph:
    """A graph with some work for the executor: a blur of 512²."""
    return {
        "1": node("EmptyImage", width=512, height=512, batch_size=1, color=color),
        "2": node("ImageBlur", image=["1", 0], blur_radius=12, sigma=4.0),
        "3": node("SaveImage", images=["2", 0], filename_prefix="ComfyUI"),
    }


def _logged_runs(log: Path) -> list[float]:
    """The ``run`` seconds of each job in the worker's log, without the first batch."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line["seconds"]["run"] for line in lines if "run" in line.get("seconds", {})][BATCH:]
