"""Chooses the device that ComfyUI uses, before torch is imported, and checks it afterwards."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from pathlib import Path
from typing import Any

from worker.errors import NoDevice
from worker.start_steps import STEPS

_CPU_WARNING = "No CUDA device is visible: running on the CPU (--cpu), which is slow"
_POD_TEXT = (
    "GPU is not available ({reason}). This usually means that the GPU of this machine is not properly initialized: "
    "please contact RunPod support and report this machine. To run without a GPU on purpose, set COMFY_ARGS=--cpu"
)


def cuda_device_count() -> int:
    """How many CUDA devices the driver shows to this process. ``CUDA_VISIBLE_DEVICES`` may hide some.

    The driver itself is asked, since torch must not be imported before ComfyUI has set up its allocator.
    """
    with STEPS.step("cuda"):
        try:
            driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            return 0
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
        return count.value


def torch_build() -> str:
    """What the installed torch is built for: ``cuda``, ``cpu`` or ``other`` (ROCm, XPU). torch is not imported."""
    spec = importlib.util.find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        return "cpu"
    text = (Path(folders[0]) / "version.py").read_text(encoding="utf-8")
    if re.search(r"^(hip|xpu)\b[^=\n]*=\s*['\"]", text, re.MULTILINE):
        return "other"
    return "cuda" if re.search(r"^cuda\b[^=\n]*=\s*['\"]", text, re.MULTILINE) else "cpu"


def cpu_flag(flags: tuple[str, ...], build: str, devices: int, *, on_pod: bool) -> tuple[str | None, str | None]:
    """Decide whether ``--cpu`` is added to ComfyUI's flags.

    Args:
        flags: the flags that the operator gave.
        build: the result of ``torch_build``.
        devices: the result of ``cuda_device_count``.
        on_pod: whether this is a RunPod pod, where a GPU is paid for.

    Returns:
        The flag or None, and a warning to show or None.

    Raises:
        NoDevice: a pod without a CUDA device, and the operator did not ask for the CPU.
    """
    if "--cpu" in flags or "--directml" in flags or build == "other":
        return None, None
    if build == "cuda" and devices > 0:
        return None, None
    if on_pod:
        reason = "no CUDA device is visible" if build == "cuda" else "the installed torch has no CUDA"
        raise NoDevice(_POD_TEXT.format(reason=reason))
    return "--cpu", _CPU_WARNING


def check_device(torch: Any, device: Any, *, on_pod: bool) -> None:
    """Put one number on the device, so that a broken GPU stops the start, and not the first job.

    Args:
        torch: the ``torch`` module.
        device: the ``torch.device`` that ComfyUI chose.
        on_pod: whether this is a RunPod pod.

    Raises:
        NoDevice: the device does not work.
    """
    if device.type != "cuda":
        return
    try:
        with STEPS.step("cuda"):
            torch.cuda.init()
            torch.zeros(1, device=device).item()
    except RuntimeError as error:
        raise NoDevice(device_text(error, on_pod=on_pod)) from None


def device_text(error: Exception, *, on_pod: bool) -> str:
    """The text about a CUDA device that exists but does not work."""
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    if on_pod:
        return _POD_TEXT.format(reason=reason)
    return f"The CUDA device does not work ({reason}). To run without it, set COMFY_ARGS=--cpu"
