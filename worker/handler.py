"""Takes one job from the platform's dict to the answer: parse, run, deliver. Every error becomes an answer here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from worker.answer.delivery import Delivery, make_answer
from worker.answer.outputs import collect
from worker.answer.reply import Answer, Reply, encode
from worker.bucket.buckets import Buckets
from worker.errors import AnswerTooLarge, WorkerDefunct, WorkerError, failure
from worker.job_log import JobLog, JobRecord
from worker.worker import Listener, Worker
from worker.workflows.admitted import admitted_job

T = TypeVar("T")
Handler = Callable[[object], Coroutine[Any, Any, Answer]]
# Up to these sizes, a step is faster on the event loop than on another thread.
_FEW_OUTPUTS = 8
_FEW_BYTES = 200_000
_log = logging.getLogger("worker")


def make_handler(worker: Worker, on_event: Listener | None = None) -> Handler:
    """Build the async handler of ``worker``: job dict → answer dict. The handler raises only ``CancelledError``.

    An answer may have ``MAX_RESPONSE_MB``. Without this setting there is no limit here.

    Args:
        worker: an open worker.
        on_event: called with the events of every job, on another thread.

    Raises:
        SettingsError: the bucket's settings are not complete.
    """
    handler = JobHandler(worker)

    async def handle(raw: object) -> Answer:
        try:
            return await handler.answer(raw, on_event, worker.settings.max_response_mb)
        except WorkerDefunct as error:
            return error.answer()

    return handle


class JobHandler:
    """Answers jobs with ``worker``, which must be open.

    ``answer`` returns a dict, ``reply`` returns the JSON that is sent. Both log one line about the job, and take

        raw: the job as RunPod hands it over: ``{"id", "input"}``.
        on_event: called with the job's events, on another thread.
        limit_mb: the largest answer, in MB of 10⁶ bytes.

    Both raise only ``WorkerDefunct``, if the job was not begun, and ``CancelledError``, once the job has stopped.

    Attributes:
        reports: tells of each job that has ended.

    Raises:
        SettingsError: the bucket's settings are not complete.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._buckets = Buckets(worker.settings, worker.state.output)
        self._log = JobLog(worker.settings, worker.runtime)
        self.reports = self._log.reports
        self._secrets = worker.settings.secrets()
        self._machine_folders = worker.runtime.machine_folders() if worker.runtime else ()

    async def answer(self, raw: object, on_event: Listener | None = None, limit_mb: float | None = None) -> Answer:
        """Run one job. Returns what its caller gets."""
        async with self._log.record(raw) as record:
            reply, answer = None, record.answered(await self._answer(record, raw, on_event, limit_mb))
            if limit_mb is not None:
                try:
                    reply = await _step(_has_few_bytes(answer), lambda: encode(answer, limit_mb))
                except AnswerTooLarge as error:
                    answer = record.answered(error.answer() | record.warnings())
            return answer | record.metrics(reply, limit_mb)

    async def reply(self, raw: object, on_event: Listener | None = None, limit_mb: float | None = None) -> Reply:
        """Run one job. Returns the JSON that is sent to its caller."""
        async with self._log.record(raw) as record:
            answer = record.answered(await self._answer(record, raw, on_event, limit_mb))
            try:
                reply = await _step(_has_few_bytes(answer), lambda: encode(answer, limit_mb))
            except Exception as error:  # noqa: BLE001 - the caller must get an answer.
                reply = encode(record.answered(_failed(error) | record.warnings()))
            return record.measured(reply, limit_mb)

    async def _answer(
        self, record: JobRecord, raw: object, on_event: Listener | None, limit_mb: float | None
    ) -> Answer:
        """Run one job, and turn every error into an answer, except WorkerDefunct."""
        try:
            return await self._steps(record, raw, on_event, limit_mb)
        except WorkerDefunct:
            raise
        except Exception as error:  # noqa: BLE001 - or the platform posts a traceback to the caller.
            return _failed(error) | record.warnings()

    async def _steps(self, record: JobRecord, raw: object, on_event: Listener | None, limit_mb: float | None) -> Answer:
        job = record.taken(admitted_job(raw, self._worker.settings))
        if not job.is_ready:
            job = record.taken(await asyncio.to_thread(self._worker.converted, job))
        uploader = await _step(job.s3_config is None, lambda: self._buckets.uploader(job))
        with contextlib.ExitStack() as closing:
            on_file = None
            if uploader is not None:
                closing.callback(uploader.close)
                on_file = uploader.begin  # Uploads begin while the graph still runs.
            ran = await self._worker.run_graph(job, on_event, on_file)
            output_count = sum(map(len, ran.outputs.values()))  # A node that expands into others has many.
            is_small = uploader is None and output_count <= _FEW_OUTPUTS
            result = await _step(is_small, lambda: record.collected(collect(ran)))
            delivery = Delivery(uploader, limit_mb, self._secrets, self._machine_folders)

            def deliver() -> Answer:
                with contextlib.closing(result):
                    return make_answer(result, delivery)

            return await _step(uploader is None and result.size <= _FEW_BYTES, deliver)


def _failed(error: Exception) -> Answer:
    """The answer for an error that ended a job."""
    if isinstance(error, WorkerError):
        return error.answer()
    _log.error("The handler failed", exc_info=error)
    return failure(f"Internal error: {type(error).__name__}", "internal")


def _has_few_bytes(answer: Answer) -> bool:
    entries = (*answer.get("images", ()), *answer.get("files", ()))
    return sum(len(entry["data"]) for entry in entries) <= _FEW_BYTES


async def _step(is_small: bool, step: Callable[[], T]) -> T:
    """Run ``step``: here if it is small, otherwise on a thread, so that the event loop is not blocked."""
    return step() if is_small else await asyncio.to_thread(step)
