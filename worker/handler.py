"""The story of one job, from what the platform hands over to the answer; the one ladder from errors to answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from worker.delivery import Answer, inline_answer
from worker.errors import WorkerError
from worker.events import Listener
from worker.job import Job, parse_job
from worker.logs import job_lines, one_line
from worker.result import Result
from worker.worker import Worker

T = TypeVar("T")
Handler = Callable[[object], Coroutine[Any, Any, Answer]]
_log = logging.getLogger("worker")


def make_handler(worker: Worker, on_event: Listener | None = None) -> Handler:
    """Build the async handler of ``worker``: job dict → answer dict. It raises nothing but ``CancelledError``.

    Args:
        worker: an open worker.
        on_event: gets the events of every job.
    """

    async def handle(raw: object) -> Answer:
        return await answer_job(worker, raw, lambda answer: answer, on_event)

    return handle


async def answer_job(worker: Worker, raw: object, form: Callable[[Answer], T], on_event: Listener | None = None) -> T:
    """Answer one job, and log one line about it. Raises nothing but ``CancelledError``, once the job has stopped.

    Args:
        worker: an open worker.
        raw: the job as RunPod hands it over: ``{"id", "input"}``.
        form: makes of the answer what is sent; runs where it holds nothing up.
        on_event: gets the job's events, on another thread.
    """
    account = _Account()
    given_id = raw.get("id") if isinstance(raw, dict) else None
    with job_lines(given_id if isinstance(given_id, str) else ""):
        try:
            return await _answered(worker, raw, form, on_event, account)
        except asyncio.CancelledError:
            account.outcome = "stopped"
            raise
        finally:
            account.log()


async def _answered(
    worker: Worker, raw: object, form: Callable[[Answer], T], on_event: Listener | None, account: _Account
) -> T:
    try:
        job = parse_job(raw)
        account.job = job

        def deliver(result: Result) -> T:
            return form(account.answered(result))

        with job_lines(job.id, [job.api_key]):
            return await worker.deliver_job(job, deliver, on_event)
    except WorkerError as error:
        answer = error.answer()
    except Exception as error:  # noqa: BLE001 - the platform would post a traceback to the caller.
        _log.exception("The handler failed")
        answer = {"error": f"Internal error: {type(error).__name__}", "error_type": "internal"}
    account.outcome = str(answer["error_type"])
    return form(answer)


@dataclass
class _Account:
    """What one job came to, for its line in the log."""

    job: Job | None = None
    outcome: str = "completed"
    file_count: int = 0
    byte_count: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    def answered(self, result: Result) -> Answer:
        """The answer of ``result``, whose files go when it is made."""
        start = time.perf_counter()
        try:
            answer = inline_answer(result)
            self.file_count, self.byte_count = len(result.artifacts), result.size
        finally:
            result.close()
        self.outcome = str(answer.get("error_type", "completed_with_errors" if "errors" in answer else "completed"))
        self.seconds = {**result.seconds, "deliver": time.perf_counter() - start}
        return answer

    def log(self) -> None:
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
