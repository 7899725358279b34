"""The story of one job, from what the platform hands over to the answer; the one ladder from errors to answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from worker.delivery import Answer, inline_answer
from worker.errors import WorkerError
from worker.events import Listener
from worker.job import parse_job
from worker.result import Result
from worker.worker import Worker

Handler = Callable[[object], Coroutine[Any, Any, Answer]]
_log = logging.getLogger("worker")


def make_handler(worker: Worker, on_event: Listener | None = None) -> Handler:
    """Build the async handler of ``worker``: job dict → answer dict. It raises nothing but ``CancelledError``.

    Args:
        worker: an open worker.
        on_event: gets the events of every job.
    """

    async def handle(raw: object) -> Answer:
        try:
            return await worker.deliver_job(parse_job(raw), _answer, on_event)
        except WorkerError as error:
            return error.answer()
        except Exception as error:  # noqa: BLE001 - the platform would post a traceback to the caller.
            _log.exception("The handler failed")
            return {"error": f"Internal error: {type(error).__name__}", "error_type": "internal"}

    return handle


def _answer(result: Result) -> Answer:
    try:
        return inline_answer(result)
    finally:
        result.close()
