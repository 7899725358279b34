"""Tidies up between jobs: collects garbage, and enforces the limit of host memory."""

from __future__ import annotations

import gc
import logging
import time
from typing import Any

from worker.embedded.memory.device import DeviceMemory
from worker.embedded.memory.process import ProcessMemory, Reading
from worker.engine.life import Life
from worker.engine.memory_limits import MemoryLimits

_GC_INTERVAL_S = 10.0
_log = logging.getLogger("worker")


class Rest:
    """Tidies up after a job. Call it on the executor's thread.

    Args:
        main: ComfyUI's ``main`` module.
        memory: frees models and caches.
        process: the process's memory.
        life: begins to drain when host memory stays above the limit.
        limits: what the process may have between jobs.
    """

    def __init__(
        self, main: Any, memory: DeviceMemory, process: ProcessMemory, life: Life, limits: MemoryLimits
    ) -> None:
        self._main, self._memory, self._process, self._life = main, memory, process, life
        self._limit, self._counts_files = limits.between_jobs or limits.process, limits.between_jobs > 0
        self._large = limits.job // 8
        self._had = self._process.read().used
        self._last_gc = time.monotonic()

    def __call__(self) -> None:
        """Collect garbage, and free memory if the process has too much."""
        self._collect_garbage()
        now = self._process.read()
        if self._large and now.used > self._had + self._large:
            # Let the allocator give back what a large job has left. What it keeps would be missing for the next one.
            self._process.trim()
            now = self._process.read()
            self._had = now.used
        limit = self._limit
        if limit and self._counted(now) > limit and self._trimmed() > limit:
            self._memory.make_room()
            left = self._trimmed()
            _log.warning("Memory was over MAX_RSS_MB; with models and caches freed it is %.0f MB", left / 1e6)
            if left > limit:
                self._life.drain(f"{left / 1e6:.0f} MB of memory are over MAX_RSS_MB, with all caches freed")

    def _collect_garbage(self) -> None:
        """Do what the stock server does between prompts, at most every ten seconds."""
        if time.monotonic() - self._last_gc > _GC_INTERVAL_S:
            gc.collect()
            self._main.comfy.model_management.soft_empty_cache()
            self._main.hook_breaker_ac10a0.restore_functions()
            self._last_gc = time.monotonic()

    def _counted(self, now: Reading) -> int:
        """Those bytes of memory that count for the limit."""
        return now.resident if self._counts_files else now.anonymous

    def _trimmed(self) -> int:
        """The bytes that count, after the allocator has given back what it can."""
        self._process.trim()
        return self._counted(self._process.read())
