"""The story of one job, from what the platform hands over to the answer; the one ladder from errors to answers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from worker.answer.delivery import Delivery, Uploader, make_answer
from worker.answer.reply import Answer, Reply
from worker.answer.result import Result
from worker.bucket.bucket import Bucket, configured_bucket, job_bucket
from worker.bucket.uploads import Uploads
from worker.errors import AnswerTooLarge, WorkerDefunct, WorkerError, failure
from worker.events import Listener
from worker.job.job import Job
from worker.job.parse import parse_job
from worker.logs import job_lines, one_line
from worker.models.diagnosis import log_missing_models
from worker.worker import Worker

T = TypeVar("T")
Handler = Callable[[object], Coroutine[Any, Any, Answer]]
_MAX_JOB_BUCKETS = 16
_MAY_MISS_MODELS = ("workflow_validation", "workflow_execution", "completed_with_errors")
_DIAGNOSIS_S = 5.0
_log = logging.getLogger("worker")


def make_handler(worker: Worker, on_event: Listener | None = None) -> Handler:
    """Build the async handler of ``worker``: job dict → answer dict. It raises nothing but ``CancelledError``.

    Args:
        worker: an open worker.
        on_event: gets the events of every job.

    Raises:
        SettingsError: the bucket's settings are not complete.
    """
    handler = JobHandler(worker)

    async def handle(raw: object) -> Answer:
        try:
            return await handler.answer(raw, lambda answer: answer, on_event)
        except WorkerDefunct as error:
            return error.answer()

    return handle


class JobHandler:
    """Answers jobs with ``worker``.

    Raises:
        SettingsError: the bucket's settings are not complete.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._bucket = configured_bucket(worker.settings)
        self._lock = threading.Lock()
        self._diagnosis: asyncio.Future[None] | None = None
        self._job_buckets: OrderedDict[tuple[str, ...], Bucket] = OrderedDict()

    async def answer(
        self,
        raw: object,
        form: Callable[[Answer], T],
        on_event: Listener | None = None,
        limit_mb: float | None = None,
    ) -> T:
        """Answer one job, and log one line about it. ``CancelledError`` comes once the job has stopped.

        Args:
            raw: the job as RunPod hands it over: ``{"id", "input"}``.
            form: makes of the answer what is sent; runs where it holds nothing up.
            on_event: gets the job's events, on another thread.
            limit_mb: the largest answer, in MB of 10⁶ bytes.

        Raises:
            WorkerDefunct: the job was not begun, and nothing was done with it; nothing else is ever raised.
        """
        account = _Account()
        given_id = raw.get("id") if isinstance(raw, dict) else None
        with job_lines(given_id if isinstance(given_id, str) else ""):
            try:
                answered = await self._answered(raw, form, on_event, limit_mb, account)
                await self._diagnose(account)
                return answered
            except asyncio.CancelledError:
                account.outcome = "stopped"
                raise
            except WorkerDefunct:
                account.outcome = "not begun"
                raise
            finally:
                account.log()

    async def _answered(
        self,
        raw: object,
        form: Callable[[Answer], T],
        on_event: Listener | None,
        limit_mb: float | None,
        account: _Account,
    ) -> T:
        try:
            job = parse_job(raw)
            account.job = job
            with job_lines(job.id, _secrets(job)):
                # A bucket of the job's own is looked up, which may take a while.
                uploader = await asyncio.to_thread(self._uploader, job) if job.s3_config else self._uploader(job)
                worker = self._worker
                places = worker.runtime.places() if worker.runtime else ()
                delivery = Delivery(worker.image_format(job), uploader, limit_mb, worker.settings.secrets(), places)

                def deliver(result: Result) -> T:
                    formed = form(account.answered(result, delivery))
                    if (
                        isinstance(formed, Reply)
                        and account.outcome.startswith("completed")
                        and formed.error is not None
                    ):
                        account.outcome = AnswerTooLarge.error_type
                    return formed

                try:
                    on_file = uploader.begin if uploader else None
                    return await self._worker.deliver_job(job, deliver, on_event, on_file)
                finally:
                    if uploader is not None:
                        uploader.close()
        except WorkerDefunct:
            raise
        except WorkerError as error:
            answer = error.answer()
        except Exception as error:  # noqa: BLE001 - the platform would post a traceback to the caller.
            _log.exception("The handler failed")
            answer = failure(f"Internal error: {type(error).__name__}", "internal")
        account.outcome = str(answer["error_type"])
        return form(answer)

    async def _diagnose(self, account: _Account) -> None:
        """Log which models a failed job misses, where the operator wants to know; one job at a time."""
        worker, job = self._worker, account.job
        if not (
            worker.settings.network_volume_debug and worker.runtime and job and account.outcome in _MAY_MISS_MODELS
        ):
            return
        if self._diagnosis is not None and not self._diagnosis.done():
            _log.info("Its models are not looked for: those of an earlier job still are")
            return
        with job_lines(job.id, _secrets(job)):
            volume = worker.settings.network_volume_path
            self._diagnosis = asyncio.ensure_future(
                asyncio.to_thread(log_missing_models, job.workflow, volume, worker.runtime)
            )
            await asyncio.wait({self._diagnosis}, timeout=_DIAGNOSIS_S)  # A large volume holds no answer up.

    def _uploader(self, job: Job) -> Uploader | None:
        bucket = self._bucket if job.s3_config is None else self._job_bucket(job.s3_config)
        if bucket is None:
            return None
        if job.s3_config is None and self._worker.settings.bucket_uploader == "runpod":
            from worker.bucket.sdk_uploads import RunpodUploads

            return RunpodUploads(job.id)
        return Uploads(bucket, job.id, self._worker.state.output)

    def _job_bucket(self, config: Mapping[str, Any]) -> Bucket:
        bucket = job_bucket(config, self._worker.settings.bucket_url_expiry_s)
        key = (bucket.address.endpoint, bucket.address.name, bucket.access_key, bucket.secret_key)
        with self._lock:
            known = self._job_buckets.setdefault(key, bucket)  # Its client, and the connections that it has open.
            self._job_buckets.move_to_end(key)
            if len(self._job_buckets) > _MAX_JOB_BUCKETS:
                self._job_buckets.popitem(last=False)
        return known


def _secrets(job: Job) -> list[str | None]:
    config = job.s3_config or {}
    return [
        job.api_key,
        *(value for name in ("accessId", "accessSecret") if isinstance(value := config.get(name), str)),
    ]


@dataclass
class _Account:
    """What one job came to, for its line in the log."""

    job: Job | None = None
    outcome: str = "completed"
    file_count: int = 0
    byte_count: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    def answered(self, result: Result, delivery: Delivery) -> Answer:
        """The answer of ``result``, whose files go when it is made."""
        start = time.perf_counter()
        try:
            answer = make_answer(result, delivery)
            self.file_count, self.byte_count = len(result.artifacts), result.size
        finally:
            result.close()
        self.outcome = str(answer.get("error_type", "completed_with_errors" if "errors" in answer else "completed"))
        self.seconds = {**result.seconds, "deliver": time.perf_counter() - start}
        return answer

    def log(self) -> None:
        if not _log.isEnabledFor(logging.INFO):
            return
        total = time.perf_counter() - self.start
        parts = ", ".join(f"{name} {value:.3f}" for name, value in self.seconds.items())
        files = f", {self.file_count} file(s), {self.byte_count / 1e6:.2f} MB" if self.file_count else ""
        name = f"Job {one_line(self.job.id)}" if self.job else "A job"
        fields = {
            "outcome": self.outcome,
            "seconds": {"total": round(total, 4)} | {key: round(value, 4) for key, value in self.seconds.items()},
            "files": self.file_count,
            "bytes": self.byte_count,
        }
        text = f"{name}: {self.outcome} in {total:.3f} s" + (f" ({parts})" if parts else "") + files
        _log.info(text, extra={"fields": fields})
