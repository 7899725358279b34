"""A stand-in for a CUDA device, which a node can break: for what ComfyUI and the worker do with such a device.

It is there where ``TEST_CUDA`` is set. ComfyUI still computes on the CPU; only what would ask the driver is replaced.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib
import os
import threading
from collections.abc import Callable
from typing import Any

import comfy.model_management
import torch

from .faults import OnImage

_ASSERT = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
_ANSWERS: dict[str, Any] = {
    "synchronize": None, "empty_cache": None, "ipc_collect": None, "reset_peak_memory_stats": None,
    "memory_allocated": 1_000_000, "max_memory_allocated": 2_000_000, "memory_stats": {}, "memory_summary": "",
    "mem_get_info": (20_000_000_000, 24_000_000_000), "utilization": 0, "get_device_name": "Stand-in",
    "is_available": True, "current_device": 0,
}  # fmt: skip
_MANAGED: dict[str, Any] = {
    "get_free_memory": 20_000_000_000, "get_total_memory": 24_000_000_000, "get_torch_device_name": "cuda:0 Stand-in",
    "soft_empty_cache": None, "unload_all_models": None, "cleanup_models": None, "cleanup_models_gc": None,
    "reset_cast_buffers": None, "synchronize": None, "discard_cuda_async_error": None,
}  # fmt: skip
_FURTHER: dict[str, dict[str, Any]] = {
    "comfy.model_prefetch": {"cleanup_prefetch_queues": None},
    "comfy_aimdo.control": {"analyze": None},
    "comfy_aimdo.model_vbar": {"vbars_reset_watermark_limits": None},
}
_error: Any = getattr(torch, "AcceleratorError", RuntimeError)


def _raises() -> None:
    raise _error(_ASSERT)


def _blocks(library: Any = None) -> None:
    while True:
        (library or ctypes.CDLL(None)).sleep(1000)


def _keeps_lock() -> None:
    _blocks(ctypes.PyDLL(None))


# What each call does, by its name; "": all others. torch aborts where CUDA refuses to free a tensor.
_WAYS: dict[str, dict[str, Callable[[], None]]] = {
    "raises": {"": _raises},
    "blocks": {"": _blocks},
    "keeps the lock": {"": _keeps_lock},
    "blocks while freed": {"": _raises, "free": _blocks},
    "aborts": {"": _raises, "free": os.abort},
    "dies": {"": os.abort},
    "blocks in a pack": {"": _raises, "pack": _blocks},
    "keeps the lock in a pack": {"": _raises, "pack": _keeps_lock},
    "aborts in a pack": {"": _raises, "pack": os.abort},
    "blocks at the end": {"": _raises, "exit": _blocks},
    "keeps the lock at the end": {"": _raises, "exit": _keeps_lock},
}


class Device:
    """The stand-in's state. ``way``: what each call does; None: the device works."""

    way: dict[str, Callable[[], None]] | None = None

    @classmethod
    def breaks(cls, how: str) -> None:
        """Break the device."""
        with contextlib.suppress(ImportError):  # ComfyUI 0.3.75 has no such memory manager.
            memory: Any = importlib.import_module("comfy.memory_management")
            memory.aimdo_enabled = True  # As on a GPU.
        cls.way = _WAYS[how]

    @classmethod
    def call(cls, name: str, answer: Any = None) -> Any:
        """What the driver does when it is called."""
        if cls.way is not None:
            cls.way.get(name, cls.way[""])()
        return answer


class Resident:
    """Stands for a tensor on the device."""

    def __init__(self) -> None:
        self.itself = self  # Only the garbage collector frees it.

    def __str__(self) -> str:
        return str(Device.call("print", "tensor"))

    def __del__(self) -> None:
        Device.call("free")


class Plain(Resident):
    """The same, freed as soon as nobody has it."""

    def __init__(self) -> None:
        pass


def _as_device(name: str, answer: Any) -> Callable[..., Any]:
    def call(*_: Any, **named: Any) -> Any:
        if name == "get_free_memory" and named.get("torch_free_too"):
            return Device.call(name, (answer, answer))
        return Device.call(name, answer)

    return call


def _on_cpu(function: Any) -> Callable[..., Any]:
    """``function`` that makes a tensor, on the CPU if it is wanted on the device."""

    @functools.wraps(function)
    def make(*arguments: Any, **named: Any) -> Any:
        if "cuda" in str(named.get("device", "")):
            Device.call(function.__name__)
            named["device"] = "cpu"
        return function(*arguments, **named)

    return make


def _with_pack(function: Any) -> Callable[..., Any]:
    """``function`` that a node pack has surrounded with a look at the device."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with contextlib.suppress(RuntimeError):
            Device.call("pack")
        return function(*arguments, **named)

    return call


def stand_in() -> None:
    """Put the device in the place of the CPU."""
    for name, answer in _ANSWERS.items():
        setattr(torch.cuda, name, _as_device(name, answer))
    for name, answer in _MANAGED.items():
        if hasattr(comfy.model_management, name):
            setattr(comfy.model_management, name, _as_device(name, answer))
    for module, functions in _FURTHER.items():
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        for name, answer in functions.items():
            setattr(found, name, _as_device(name, answer))
    queue: Any = importlib.import_module("execution").PromptQueue
    queue.task_done = _with_pack(queue.task_done)
    atexit.register(Device.call, "exit")
    torch.zeros, torch.tensor = _on_cpu(torch.zeros), _on_cpu(torch.tensor)
    comfy.model_management.get_torch_device = lambda: torch.device("cuda", 0)


class OnDevice(OnImage):
    """Gives something that is on the device."""

    RETURN_TYPES = ("RESIDENT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image: Any) -> tuple[Any]:
        return (Plain(),)


class BreaksDevice(OnImage):
    """Breaks the device in the way ``how``. ``when``: ``now``, ``unheard`` (the next call tells of it), ``later``."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        texts: dict[str, Any] = {"how": ("STRING", {}), "when": ("STRING", {})}
        return {"required": {"image": ("IMAGE",), "resident": ("RESIDENT",), **texts}}

    def run(self, image: Any, resident: Any, how: str, when: str) -> tuple[Any]:
        Resident()
        local = Plain(), resident
        if when == "later":
            threading.Timer(1, Device.breaks, (how,)).start()
        else:
            Device.breaks(how)
        if how == "dies":
            Device.call("kernel")  # While Python unwinds the node, before anybody can hear of it.
        if when == "now":
            raise _error(_ASSERT)
        return (image,) if local else ()


if os.environ.get("TEST_CUDA"):
    stand_in()
CLASSES = (OnDevice, BreaksDevice)
