"""Notes in a job's receipt when ComfyUI reads model files, and when it brings models to the device."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from worker.embedded.models.functions import surround_loading
from worker.receipt.current import current, span
from worker.receipt.receipt import Receipt


def measure_models(main: Any) -> None:
    """Let ComfyUI's functions that read and load models note their times, for jobs that are measured.

    Args:
        main: ComfyUI's ``main`` module.
    """
    surround_loading(main, _reading, lambda _: span("model_load", current()))


@contextlib.contextmanager
def _reading(path: Any) -> Iterator[None]:
    receipt = current()
    with span("model_read", receipt):
        yield
    if receipt is not None:
        _count(receipt, path)


def _count(receipt: Receipt, path: Any) -> None:
    receipt.counts.model_reads += 1
    with contextlib.suppress(OSError, TypeError, ValueError):
        receipt.counts.model_bytes += os.stat(path).st_size  # noqa: PTH116 - a node may give any object.
