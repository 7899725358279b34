"""The receipt of the job that this code works for. Threads of the job have its context, and so find its receipt.

Where no job is measured, these functions do nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

from worker.receipt.phases import Phase
from worker.receipt.receipt import Receipt

_current: ContextVar[Receipt | None] = ContextVar("worker_receipt", default=None)


@contextlib.contextmanager
def measuring(receipt: Receipt | None) -> Iterator[None]:
    """Within this context, ``receipt`` is the one of the job that runs."""
    token = _current.set(receipt)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Receipt | None:
    """The receipt of this job; None if it is not measured."""
    return _current.get()


def enter(phase: Phase) -> None:
    """Note that a phase of this job begins."""
    if (receipt := _current.get()) is not None:
        receipt.enter(phase)


@contextlib.contextmanager
def span(name: str, receipt: Receipt | None) -> Iterator[None]:
    """Note when the block began and ended, under ``name``."""
    if receipt is None:
        yield
        return
    began = time.perf_counter()
    try:
        yield
    finally:
        receipt.note(name, began, time.perf_counter())
