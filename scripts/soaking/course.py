"""Runs one soak from start to end: starts worker and bucket, gives jobs, and measures the worker at rest in between."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.machine import machine, versions
from bench.progress import Progress
from bench.workload.models import CHECKPOINT, make_models
from runpod_worker import WorkerProcess, runpod_worker
from s3_server import KEYS, FaultyS3, s3_server

from soaking.drive import Driver, Record, WorkerGone
from soaking.jobs import Mix
from soaking.watch import Rest, Sample, Watch
from worker.embedded.start.source import find_source
from worker.settings import load_settings

PROJECT = Path(__file__).resolve().parents[2]
_REST_EVERY, _FIRST_REST = 100, 10
_END_S = 30.0


@dataclass(frozen=True)
class Plan:
    """What the soak does. ``minutes``: give no more jobs after this time; None: no limit. ``folder``: for all files."""

    jobs: int
    seed: int
    concurrency: int
    backend: str
    minutes: float | None
    folder: Path

    @property
    def rests(self) -> list[int]:
        """The numbers of the jobs after which the process is measured at rest."""
        return sorted({_FIRST_REST, *range(_REST_EVERY, self.jobs, _REST_EVERY), self.jobs})


@dataclass(frozen=True)
class Course:
    """What happened in a soak.

    Attributes:
        base: the base directory.
        taken: when each job was handed out, by ``time.monotonic``.
        began: when the soak began, by ``time.monotonic``.
        seconds: how long the jobs took together.
        faults: number of uploads that the bucket refused or cut.
        held: jobs that the last heartbeat still named after all were answered.
        exit_code: the worker's, after SIGTERM; None if it did not end.
        left: files and folders that the worker made and did not remove at its end.
        about: the machine and the versions.
    """

    plan: Plan
    base: Path
    record: Record
    samples: list[Sample]
    rests: list[Rest]
    taken: dict[str, float]
    began: float
    seconds: float
    faults: int
    held: list[str]
    log: str
    exit_code: int | None
    left: list[str]
    about: dict[str, Any]

    @property
    def requests(self) -> dict[str, Any]:
        """The request of each draft, by the draft's name."""
        return {job.draft.name: job.draft.request for job in self.record.jobs.values()}


def run_course(plan: Plan, progress: Progress) -> Course:
    """Run the soak.

    Raises:
        WorkerGone: the worker did not start, or ended early.
        CalledProcessError: the small checkpoint could not be made.
    """
    progress.begin("a worker, a bucket and a small checkpoint start", 1)
    base, files = _base(plan.folder), plan.folder / "worker"
    (files / "tmp").mkdir(parents=True)
    (files / "state").mkdir()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # Otherwise moto's server logs each request.
    with s3_server() as target, FaultyS3(target) as bucket:
        environment = {
            "COMFY_BACKEND": plan.backend,
            "WORKER_CONCURRENCY": str(plan.concurrency),
            "WORKER_STATE_DIR": str(files / "state"),
            "TMPDIR": str(files / "tmp"),
            "BUCKET_ENDPOINT_URL": bucket.url,
            "BUCKET_NAME": "pictures",
            "BUCKET_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
            "BUCKET_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
        }
        with (
            ThreadPoolExecutor() as pool,
            runpod_worker(base, PROJECT, plan.folder, wait=False, **environment) as worker,
        ):
            making = pool.submit(make_models, base / "models", [CHECKPOINT])  # This runs while the worker starts.
            _wait(worker)
            making.result()
            return _soaked(plan, worker, bucket, files, base, progress)


def _base(folder: Path) -> Path:
    """Make a base directory with the tests' nodes."""
    base = folder / "base"
    for name in ("models/checkpoints", "custom_nodes", "input"):
        (base / name).mkdir(parents=True)
    shutil.copytree(PROJECT / "tests" / "nodes", base / "custom_nodes" / "test_nodes")
    return base


def _wait(worker: WorkerProcess) -> None:
    try:
        worker.api.wait(lambda: worker.api.polls or worker.process.poll() is not None, 120)
    except AssertionError:
        raise WorkerGone("the worker asked for no job within 120 s") from None
    if worker.process.poll() is not None:
        raise WorkerGone(f"the worker did not start: {''.join(worker.log().splitlines()[-1:])}")


def _soaked(plan: Plan, worker: WorkerProcess, bucket: FaultyS3, files: Path, base: Path, progress: Progress) -> Course:
    driver, rests = Driver(worker, bucket), []
    jobs = Mix(plan.seed).jobs(set(plan.rests))
    end = time.monotonic() + 60 * plan.minutes if plan.minutes else float("inf")
    progress.begin("jobs", plan.jobs)
    ports = {urlsplit(worker.api.url).port: "the platform", urlsplit(bucket.url).port: "the bucket"}
    with Watch(worker.process.pid, files, ports, lambda: len(worker.api.pings)) as watch:
        for rest_at in plan.rests:
            given = len(driver.record.jobs)
            driver.run(jobs, rest_at - given, end, progress.advance_to)
            rests.append(watch.rest(len(driver.record.jobs)))
            if time.monotonic() > end:
                break
        seconds = time.monotonic() - watch.began
        driver.finish()
        held = worker.api.pings[-1].get("job_id", [])
    exit_code = _ended(worker)
    comfyui = find_source(load_settings().comfyui_path, base).version
    return Course(
        plan, base, driver.record, watch.samples, rests, dict(worker.api.taken), watch.began, seconds,
        driver.faults.count, held, worker.log(), exit_code, _left(files, rests[0].names),
        {"machine": machine(), "versions": versions(comfyui)},
    )  # fmt: skip


def _ended(worker: WorkerProcess) -> int | None:
    """The worker's exit code after SIGTERM; None if it does not end."""
    worker.process.terminate()
    try:
        return worker.end(_END_S)
    except subprocess.TimeoutExpired:
        return None


def _left(files: Path, before: frozenset[str]) -> list[str]:
    """Files that came after the first rest (torch makes a folder before it), and all files in the state folder."""
    names = {str(path.relative_to(files)) for path in files.rglob("*")}
    return sorted(name for name in names if name not in before or name.startswith("state/"))
