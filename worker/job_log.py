"""Logs each job: its id on every line, a line when it ends, and the models that a failed job lacks."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import time
from pathlib import Path
from types import TracebackType

from worker.answer.reply import Answer, Reply
from worker.answer.result import Result
from worker.embedded.runtime import Runtime
from worker.errors import WorkerDefunct
from worker.job.job import Job
from worker.job.notices import notices
from worker.logs import job_lines, one_line
from worker.models.diagnosis import log_missing_models
from worker.models.references import Catalog
from worker.receipt.current import enter, measuring
from worker.receipt.reports import Reports
from worker.redact import encodable
from worker.settings import Settings

_MAY_MISS_MODELS = ("workflow_validation", "workflow_execution", "completed_with_errors")
_SEARCH_S = 5.0  # How long the end of the process waits.
_log = logging.getLogger("worker")


class JobLog:
    """Opens a record for each job.

    Args:
        settings: the worker's.
        runtime: ComfyUI in this process; None if it is a server elsewhere.

    Attributes:
        reports: tells of each job that has ended.
    """

    def __init__(self, settings: Settings, runtime: Runtime | None) -> None:
        self._search: ModelSearch | None = None
        self.reports = Reports(settings, runtime)
        if settings.network_volume_debug and runtime is not None:
            self._search = ModelSearch(settings.network_volume_path, runtime)

    def record(self, raw: object) -> JobRecord:
        """The record of the job ``raw``, which need not be a valid job. Use it with ``async with``."""
        job_id = raw.get("id") if isinstance(raw, dict) else None
        return JobRecord(job_id if isinstance(job_id, str) else "", self._search, self.reports)


class ModelSearch:
    """Logs which models a job lacks, on a thread of its own: a large volume must not delay the answer.

    One job at a time is examined. If the process ends meanwhile, it waits for the search, but not for long.
    """

    def __init__(self, volume: Path, catalog: Catalog) -> None:
        self._volume, self._catalog = volume, catalog
        self._thread: threading.Thread | None = None

    def begin(self, job: Job) -> None:
        """Examine ``job``, unless another one still is."""
        if self._thread is None:
            atexit.register(self.wait)
        elif self._thread.is_alive():
            _log.info("Its models are not looked for: those of an earlier job still are")
            return
        thread = threading.Thread(target=self._look, args=(job,), name="model-search", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # The system gives no further thread.
            _log.warning("Its models are not looked for: there is no thread left")
        else:
            self._thread = thread

    def wait(self, seconds: float = _SEARCH_S) -> None:
        """Wait until the search has ended, but not longer than this."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _look(self, job: Job) -> None:
        with job_lines(job.id, _secrets(job)):
            log_missing_models(job.workflow, self._volume, self._catalog)


class JobRecord:
    """One job in the log, and its receipt, if it is measured."""

    def __init__(self, job_id: str, search: ModelSearch | None, reports: Reports) -> None:
        self._answer: Answer | None = None
        self._search, self._reports = search, reports
        self._receipt = reports.begin()
        self._job: Job | None = None
        self._began = self._collected = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._count = self._size = 0
        self._context = contextlib.ExitStack()
        self._context.enter_context(job_lines(job_id))
        self._context.enter_context(measuring(self._receipt))

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
        enter("delivery")
        return result

    def answered(self, answer: Answer) -> Answer:
        """Note what the caller is to get, which is only encoded now."""
        self._answer = answer
        enter("reply")
        return answer

    def metrics(self, reply: Reply | None, limit_mb: float | None) -> Answer:
        """``metrics`` for the answer; an empty dict if it has none. The measurement ends here.

        Args:
            reply: the encoded answer without them; None if it is not limited.
            limit_mb: the largest answer, in MB of 10⁶ bytes. They are left out if there is no room for them.
        """
        if self._receipt is None:
            return {}
        self._receipt.end()
        metrics = self._reports.for_caller(self._receipt)
        has_room = reply is None or reply.has_room("metrics", metrics, limit_mb)
        return {"metrics": metrics} if metrics and has_room else {}

    def measured(self, reply: Reply, limit_mb: float | None) -> Reply:
        """``reply`` with ``metrics``, if it has some and there is room for them."""
        for key, value in self.metrics(reply, limit_mb).items():
            reply = reply.with_last(key, value)
        return reply

    async def __aenter__(self) -> JobRecord:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._seconds:
            self._seconds["deliver"] = time.perf_counter() - self._collected
        with self._context:
            outcome = _outcome(self._answer, kind)
            if self._receipt is not None:
                self._reports.end(outcome, self._receipt)
            if _log.isEnabledFor(logging.INFO):
                self._tell(outcome)
            if self._search is not None and self._job is not None and outcome in _MAY_MISS_MODELS:
                self._search.begin(self._job)

    def _tell(self, outcome: str) -> None:
        total, seconds = time.perf_counter() - self._began, self._seconds
        parts = ", ".join(f"{name} {value:.3f}" for name, value in seconds.items())
        files = f", {self._count} file(s), {self._size / 1e6:.2f} MB" if self._count else ""
        name = f"Job {one_line(self._job.id)}" if self._job else "A job"
        measured = self._reports.for_log(self._receipt) if self._receipt is not None else {}
        cost = f", cost {measured['cost']:.6f}" if "cost" in measured else ""
        fields = {
            "outcome": outcome,
            "seconds": {"total": round(total, 4)} | {key: round(value, 4) for key, value in seconds.items()},
            "files": self._count,
            "bytes": self._size,
            **measured,
        }
        text = f"{name}: {outcome} in {total:.3f} s" + (f" ({parts})" if parts else "") + files + cost
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
