"""Describes the machine and the versions of a measurement."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import psutil

from bench.phases.gpu import gpu_name


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory in GB (10⁹ bytes), GPU and operating system."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": gpu_name(),
        "system": platform.platform(),
    }


def versions(comfyui: str) -> dict[str, str]:
    """The versions of ComfyUI, torch, Python and the worker."""
    return {
        "comfyui": comfyui,
        "torch": _version("torch"),
        "python": platform.python_version(),
        "worker": _version("comfy-worker"),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
