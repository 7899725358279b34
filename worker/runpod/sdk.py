"""Imports what the worker uses of RunPod's SDK. No other module imports the SDK."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def _no_processor_survey() -> Iterator[None]:
    """Skip the SDK's look-up of the processor's name at its import, which takes a second. The name is not used."""
    import cpuinfo

    survey = cpuinfo.get_cpu_info
    cpuinfo.get_cpu_info = lambda: {"brand_raw": ""}
    try:
        yield
    finally:
        cpuinfo.get_cpu_info = survey


with _no_processor_survey():
    from runpod.http_client import AsyncClientSession, TooManyRequests, get_auth_header
    from runpod.serverless.modules.rp_fitness import run_fitness_checks
    from runpod.serverless.modules.rp_http import JOB_DONE_URL
    from runpod.serverless.modules.rp_job import get_job, get_stop_signals
    from runpod.serverless.modules.rp_logger import RunPodLogger
    from runpod.serverless.modules.rp_ping import Heartbeat
    from runpod.serverless.modules.worker_state import JobsProgress, PingJobMirror
    from runpod.serverless.utils import rp_upload

__all__ = [
    "JOB_DONE_URL",
    "AsyncClientSession",
    "Heartbeat",
    "JobsProgress",
    "PingJobMirror",
    "RunPodLogger",
    "TooManyRequests",
    "get_auth_header",
    "get_job",
    "get_stop_signals",
    "rp_upload",
    "run_fitness_checks",
]
