"""Notes in a job's receipt when ComfyUI reads model files, and when it brings models to the device."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from worker.receipt.current import current, span

# The last two have taken the function out of the first when they were imported.
_READERS = ("comfy.utils", "comfy.clip_vision", "comfy.bg_removal_model")


def measure_models(main: Any) -> None:
    """Let ComfyUI's functions that read and load models note their times, for jobs that are measured.

    Args:
        main: ComfyUI's ``main`` module.
    """
    read = main.comfy.utils.load_torch_file
    measured = _measured(read, "model_read", _count)
    for name in _READERS:
        module = sys.modules.get(name)
        if module is not None and vars(module).get("load_torch_file") is read:
            module.load_torch_file = measured  # type: ignore[attr-defined]
    management = main.comfy.model_management
    management.load_models_gpu = _measured(management.load_models_gpu, "model_load", lambda _: None)


def _measured(function: Any, name: str, count: Callable[[Any], None]) -> Any:
    @functools.wraps(function)
    def measured(first: Any, *args: Any, **kwargs: Any) -> Any:
        receipt = current()
        if receipt is None:
            return function(first, *args, **kwargs)
        with span(name, receipt):
            result = function(first, *args, **kwargs)
        count(first)
        return result

    return measured


def _count(path: Any) -> None:
    receipt = current()
    if receipt is not None:
        receipt.counts.model_reads += 1
        try:
            receipt.counts.model_bytes += os.stat(path).st_size  # noqa: PTH116 - a node may give any object.
        except (OSError, TypeError, ValueError):
            return
