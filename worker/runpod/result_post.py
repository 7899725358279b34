"""A job's result as RunPod's API takes it: its URL, its headers, its largest size, and what a status means."""

from __future__ import annotations

from worker.runpod.sdk import JOB_DONE_URL
from worker.settings import Settings

# 401 and 403 are among them, since a gateway may send them, or RunPod just after the worker's key was changed.
_TRANSIENT = {401, 403, 408, 425, 429}
UNKNOWN_JOB = {404, 410}
_SYNC_LIMIT_MB, _ASYNC_LIMIT_MB = 20.0, 10.0  # What RunPod takes for jobs of /runsync and of /run.


def post_url(job_id: str) -> str:
    """Where a job's result and its progress are posted."""
    return f"{JOB_DONE_URL.replace('$ID', job_id)}&isStream=false"


def post_headers(job_id: str) -> dict[str, str]:
    """The headers that RunPod's SDK sends with a result, without the worker's key."""
    return {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded", "X-Request-ID": job_id}


def is_transient(status: int) -> bool:
    """Whether a post that was answered with this HTTP status may succeed later."""
    return status in _TRANSIENT or status >= 500


def answer_limit_mb(settings: Settings, job_id: str) -> float:
    """The largest answer of a job, in MB of 10⁶ bytes."""
    return settings.max_response_mb or (_SYNC_LIMIT_MB if job_id.startswith("sync-") else _ASYNC_LIMIT_MB)


def more_keys(settings: Settings) -> dict[str, object]:
    """What a result says to RunPod beside the answer."""
    return {"stopPod": True} if settings.refresh_worker else {}
