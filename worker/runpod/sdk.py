"""What the worker takes from RunPod's SDK; the only module that imports it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def _no_processor_survey() -> Iterator[None]:
    """The SDK asks for the processor's name when it is imported, which takes a second of programs and nobody reads."""
    import cpuinfo

    survey = cpuinfo.get_cpu_info
    cpuinfo.get_cpu_info = lambda: {"brand_raw": ""}
    try:
        yield
    finally:
        cpuinfo.get_cpu_info = survey


with _no_processor_survey():
    from runpod.http_client import AsyncClientSession, TooManyRequests
    from runpod.serverless import worker as sdk_worker
    from runpod.serverless.modules.rp_fitness import run_fitness_checks
    from runpod.serverless.modules.rp_http import JOB_DONE_URL
    from runpod.serverless.modules.rp_job import get_job, get_stop_signals
    from runpod.serverless.modules.rp_logger import RunPodLogger
    from runpod.serverless.modules.rp_scale import JobScaler
    from runpod.serverless.modules.worker_state import JobsProgress, PingJobMirror
    from runpod.serverless.utils import rp_upload

__all__ = [
    "JOB_DONE_URL",
    "AsyncClientSession",
    "JobScaler",
    "JobsProgress",
    "PingJobMirror",
    "RunPodLogger",
    "TooManyRequests",
    "get_job",
    "get_stop_signals",
    "rp_upload",
    "run_fitness_checks",
    "sdk_worker",
]
