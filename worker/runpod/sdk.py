"""Imports what the worker uses of RunPod's SDK. No other module imports the SDK."""

from __future__ import annotations

import contextlib
import os
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from worker.settings import Settings


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
    from runpod import http_client
    from runpod.http_client import AsyncClientSession, TooManyRequests, get_auth_header
    from runpod.serverless.modules import rp_fitness, rp_ping
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
    "lend_keys",
    "rp_upload",
    "run_fitness_checks",
]

_KEYS = ("runpod_ai_api_key", "bucket_endpoint_url", "bucket_access_key_id", "bucket_secret_access_key")


class _Os:
    """``os``, as the SDK is to see it: with the keys that the worker has taken out of the environment."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self.environ = ChainMap(dict(keys), os.environ)

    def getenv(self, name: str, default: str | None = None) -> str | None:
        return self.environ.get(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def lend_keys(settings: Settings) -> None:
    """Give the SDK the keys that it reads from the environment after the start.

    It reads RunPod's key for the heartbeat, the session and the report of a fitness check, the bucket's for an upload.
    """
    values = {name: getattr(settings, name) for name in _KEYS}
    keys = {
        name.upper(): getattr(v, "get_secret_value", lambda v=v: v)() for name, v in values.items() if v is not None
    }
    for module in (http_client, rp_ping, rp_fitness, rp_upload):
        module.os = _Os(keys)
