"""Waits for a server, and stops waiting when the job is interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from worker.errors import JobInterrupted

T = TypeVar("T")
_TICK_S = 0.25


def begun(work: Callable[[], T]) -> Future[T]:
    """Start ``work`` on a daemon thread of its own, so that it delays neither the job nor the end of the process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised by the future's ``result``.
            future.set_exception(error)

    threading.Thread(target=run, name="comfy-request", daemon=True).start()
    return future


def pause(seconds: float, is_interrupted: Callable[[], bool]) -> None:
    """Wait ``seconds``, or until the job is interrupted."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not is_interrupted():
        time.sleep(min(left, _TICK_S))


def result_of(future: Future[T], is_interrupted: Callable[[], bool]) -> T:
    """Wait for the result of ``future``.

    Raises:
        JobInterrupted: the job was interrupted meanwhile. The future's thread goes on, but its result is not used.
    """
    while not wait([future], _TICK_S).done:
        if is_interrupted():
            raise JobInterrupted
    return future.result()
