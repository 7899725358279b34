"""A stand-in for a CUDA device, which a node can break: for what ComfyUI and the worker do with such a device.

It is there where ``TEST_CUDA`` is set. ComfyUI still computes on the CPU; only what would ask the driver is replaced.
"""

from __future__ import annotations

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


class Device:
    """The stand-in's state. ``how``: what each call does; None: the device works."""

    how: str | None = None
    calls: list[str] = []  # noqa: RUF012 - what was called since the device broke.

    @classmethod
    def breaks(cls, how: str) -> None:
        """Break the device."""
        with contextlib.suppress(ImportError):  # ComfyUI 0.3.75 has no such memory manager.
            memory: Any = importlib.import_module("comfy.memory_management")
            memory.aimdo_enabled = True  # As on a GPU.
        cls.how = how

    @classmethod
    def call(cls, name: str, answer: Any = None) -> Any:
        """What the driver does when it is called."""
        if cls.how is None or (cls.how == "blocks while freed" and name != "free"):
            return answer
        cls.calls.append(name)
        if cls.how == "raises":
            raise _error(_ASSERT)
        if cls.how == "aborts" and name == "free":
            os.abort()  # An error in a destructor of C++: torch frees a tensor, and CUDA refuses.
        if cls.how == "aborts":
            raise _error(_ASSERT)
        library = ctypes.PyDLL(None) if cls.how == "keeps the lock" else ctypes.CDLL(None)
        while True:
            library.sleep(1000)


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
    """Breaks the device in the way ``how``, and tells of it at once, or (``later``) leaves that to the next call."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {
            "required": {"image": ("IMAGE",), "resident": ("RESIDENT",), "how": ("STRING", {})},
            "optional": {"later": ("BOOLEAN", {}), "after_s": ("FLOAT", {})},
        }

    def run(self, image: Any, resident: Any, how: str, later: bool = False, after_s: float = 0.0) -> tuple[Any]:
        Resident()
        local = Plain()
        if after_s:
            threading.Timer(after_s, Device.breaks, (how,)).start()
            return (image,)
        Device.breaks(how)
        if how == "dies":
            os.abort()  # While Python unwinds the node, before anybody can hear of it.
        if not later:
            Device.how = how
            raise _error(_ASSERT)
        del local
        return (image,)


if os.environ.get("TEST_CUDA"):
    stand_in()
CLASSES = (OnDevice, BreaksDevice)
