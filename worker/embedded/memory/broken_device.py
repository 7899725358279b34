"""Lets nothing in ComfyUI touch a CUDA device that is broken: the calls would fail, never return, or end the process.

torch ends the process if CUDA refuses to free a tensor. So nothing that may lie on the device is freed any more.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from worker.embedded.memory.device import DeviceMemory
from worker.protocol.prompt_outcome import NodeFailure

# What ComfyUI calls when a node has failed, when a prompt ends, and when models are removed. All of it frees only.
_TIDY_UP = {
    "comfy.model_management": (
        "cleanup_models", "cleanup_models_gc", "discard_cuda_async_error", "free_memory", "free_pins",
        "reset_cast_buffers", "soft_empty_cache", "synchronize", "unload_all_models",
    ),
    "comfy.model_prefetch": ("cleanup_prefetch_queues",),
    "comfy_aimdo.control": ("analyze",),
    "comfy_aimdo.model_vbar": ("vbars_reset_watermark_limits",),
}  # fmt: skip
_kept: list[Any] = []  # Until the process ends.


def watched_device(main: Any, executor: Any) -> DeviceMemory:
    """The memory of the device, which hears of each node that fails. ``executor``: ComfyUI's PromptExecutor."""
    torch, management = importlib.import_module("torch"), main.comfy.model_management
    memory = DeviceMemory(management, torch, executor.reset, partial(leave_alone, main, executor))
    if memory.is_cuda:
        hear_of_failures(main, memory)
    return memory


def leave_alone(main: Any, executor: Any) -> None:
    """Free nothing any more, and let ComfyUI not tidy up. ``main``: its module; ``executor``: its PromptExecutor."""
    models = list(main.comfy.model_management.current_loaded_models)
    _kept.append((models, executor.caches, list(_cached(executor.caches))))
    gc.freeze()  # Also ``gc.collect`` finds nothing now.
    for name, functions in _TIDY_UP.items():
        module = sys.modules.get(name)
        for function in functions:
            if hasattr(module, function):
                setattr(module, function, _do_nothing)


def _cached(caches: Any) -> Iterator[list[Any]]:
    """What ComfyUI's caches hold, also those of expanded nodes."""
    caches = list(getattr(caches, "all", ()))
    while caches:
        cache = caches.pop()
        yield list(getattr(cache, "cache", {}).values())
        caches += getattr(cache, "subcaches", {}).values()


def _do_nothing(*_: object, **__: object) -> int:
    return 0  # Some tell how many bytes they have freed.


def hear_of_failures(main: Any, memory: DeviceMemory) -> None:
    """Ask ``memory`` whether the device is broken as soon as a node fails, before ComfyUI tidies up after the node."""
    get_output_data = main.execution.get_output_data

    async def heard(*args: Any, **kwargs: Any) -> Any:
        try:
            return await get_output_data(*args, **kwargs)
        except Exception as error:
            memory.fault(failure_of(error))
            if memory.broken is not None:
                _kept.append(error)  # It holds what the node had.
            raise

    def formatted(value: Any) -> Any:
        """A text about an input of a node that failed, for ComfyUI's page. The text of a tensor asks the device."""
        return value if value is None or isinstance(value, bool | int | float | str) else type(value).__name__

    main.execution.get_output_data, main.execution.format_value = heard, formatted


def failure_of(error: BaseException) -> NodeFailure:
    """An error of no certain node. The name of its class is written as ComfyUI does."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return NodeFailure("", "", name, str(error))
