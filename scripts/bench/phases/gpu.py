"""Measures memory and load of the whole GPU ten times a second, with ``nvidia-smi``."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass

_INTERVAL_MS = 100


@dataclass(frozen=True)
class GpuSample:
    """One moment. ``at``: by ``time.monotonic``. ``used_mb``: in MB of 10⁶ bytes. ``load``: 0 to 1."""

    at: float
    used_mb: float
    load: float


@dataclass(frozen=True)
class GpuUse:
    """Peak memory in MB, and the seconds that the GPU was busy."""

    peak_mb: float
    busy_s: float


class GpuWatch:
    """Watches the first visible GPU within its ``with`` block. Without ``nvidia-smi`` there are no samples."""

    def __init__(self) -> None:
        self._samples: list[GpuSample] = []
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> GpuWatch:
        if shutil.which("nvidia-smi"):
            device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
            self._process = subprocess.Popen(
                ["nvidia-smi", f"--id={device}", "--query-gpu=memory.used,utilization.gpu",
                 "--format=csv,noheader,nounits", "-lms", str(_INTERVAL_MS)],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._thread.join()

    def use(self, since: float) -> GpuUse | None:
        """Peak and load since ``since``, by ``time.monotonic``; None if there are no samples."""
        return gpu_use([sample for sample in self._samples if sample.at >= since])

    def _read(self) -> None:
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            sample = parse_sample(line, time.monotonic())
            if sample:
                self._samples.append(sample)


def parse_sample(line: str, at: float) -> GpuSample | None:
    """Read a line such as ``1234, 56`` (MiB, percent). None if it holds something else."""
    try:
        used, load = (float(part) for part in line.split(","))
    except ValueError:  # "[N/A]", or a line about an error.
        return None
    return GpuSample(at, used * 2**20 / 1e6, load / 100)


def gpu_use(samples: list[GpuSample]) -> GpuUse | None:
    """Peak memory, and busy seconds: the sum of each sample's load × the time since the sample before."""
    if not samples:
        return None
    busy = sum(later.load * (later.at - sooner.at) for sooner, later in itertools.pairwise(samples))
    return GpuUse(max(sample.used_mb for sample in samples), busy)


def gpu_name() -> str | None:
    """The first GPU's name; None if ``nvidia-smi`` finds no GPU."""
    if not shutil.which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = answer.stdout.strip().splitlines()
    return lines[0] if answer.returncode == 0 and lines else None
