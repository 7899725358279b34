"""Logs each job: its id on every line, a line when it ends, and the models that a failed job lacks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

from worker.answer.reply import Answer
from worker.answer.result import Result
from worker.errors import WorkerDefunct
from worker.job.job import Job
from worker.job.notices import notices
from worker.logs import job_lines, one_line
from worker.models.diagnosis import log_missing_models
from worker.models.references import Catalog
from worker.redact import encodable
from worker.settings import Settings

_MAY_MISS_MODELS = ("workflow_validation", "workflow_execution", "completed_with_errors")
_DIAGNOSIS_S = 5.0
_log = logging.getLogger("worker")


class JobLog:
    """Opens a record for each job.

    Args:
        settings: the worker's.
        catalog: what ComfyUI knows about model files; None if ComfyUI is a server elsewhere.
    """

    def __init__(self, settings: Settings, catalog: Catalog | None) -> None:
        self._volume = settings.network_volume_path
        self._catalog = catalog if settings.network_volume_debug else None
        self._diagnosis: asyncio.Future[None] | None = None

    def record(self, raw: object) -> JobRecord:
        """The record of the job ``raw``, which need not be a valid job. Use it with ``async with``."""
        job_id = raw.get("id") if isinstance(raw, dict) else None
        return JobRecord(job_id if isinstance(job_id, str) else "", self._diagnose)

    async def _diagnose(self, job: Job) -> None:
        """Log which models ``job`` lacks, if the operator has asked for this. One job at a time is examined."""
        if self._catalog is None:
            return
        if self._diagnosis is not None and not self._diagnosis.done():
            _log.info("Its models are not looked for: those of an earlier job still are")
            return
        looking = asyncio.to_thread(log_missing_models, job.workflow, self._volume, self._catalog)
        self._diagnosis = asyncio.ensure_future(looking)
        await asyncio.wait({self._diagnosis}, timeout=_DIAGNOSIS_S)  # A large volume must not delay the answer.


class JobRecord:
    """One job in the log.

    Attributes:
        answer: the answer that the caller gets; None until there is one.
    """

    def __init__(self, job_id: str, diagnose: Callable[[Job], Awaitable[None]]) -> None:
        self.answer: Answer | None = None
        self._diagnose = diagnose
        self._job: Job | None = None
        self._began = self._collected = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._count = self._size = 0
        self._context = contextlib.ExitStack()
        self._context.enter_context(job_lines(job_id))

    def taken(self, job: Job) -> Job:
        """Note that the job is valid. From now on no log line shows its secrets."""
        self._job = job
        self._context.enter_context(job_lines(job.id, _secrets(job)))
        return job

    def warnings(self) -> Answer:
        """``warnings`` for the answer to a job that has failed, and an empty dict if there are none."""
        lines = [encodable(line) for line in notices(self._job)] if self._job else []
        return {"warnings": lines} if lines else {}

    def collected(self, result: Result) -> Result:
        """Note what the job produced, and that its delivery begins now."""
        self._collected, self._seconds = time.perf_counter(), dict(result.seconds)
        self._count, self._size = len(result.artifacts), result.size
        return result

    async def __aenter__(self) -> JobRecord:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._seconds:
            self._seconds["deliver"] = time.perf_counter() - self._collected
        with self._context:
            outcome = _outcome(self.answer, kind)
            try:
                if self._job is not None and outcome in _MAY_MISS_MODELS:
                    await self._diagnose(self._job)
            except asyncio.CancelledError:
                outcome = "stopped"
                raise
            finally:
                if _log.isEnabledFor(logging.INFO):
                    self._tell(outcome)

    def _tell(self, outcome: str) -> None:
        total, seconds = time.perf_counter() - self._began, self._seconds
        parts = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
        files = f", {self._count} file(s), {self._size / 1e6:.2f} MB" if self._count else ""
        name = f"Job {one_line(self._job.id)}" if self._job else "A job"
        fields = {
            "outcome": outcome,
            "seconds": {"total": round(total, 4)} | {key: round(value, 4) for key, value in seconds.items()},
            "files": self._count,
            "bytes": self._size,
        }
        text = f"{name}: {outcome} in {total:.3f} s" + (f" ({parts})" if parts else "") + files
        _log.info(text, extra={"fields": fields})


def _outcome(answer: Answer | None, raised: type[BaseException] | None) -> str:
    if raised is not None:
        return "not begun" if issubclass(raised, WorkerDefunct) else "stopped"
    answer = answer or {}
    return str(answer.get("error_type", "completed_with_errors" if "errors" in answer else "completed"))


def _secrets(job: Job) -> list[str | None]:
    config = job.s3_config or {}
    in_config = (config.get(name) for name in ("accessId", "accessSecret"))
    return [job.api_key, *(value for value in in_config if isinstance(value, str))]
