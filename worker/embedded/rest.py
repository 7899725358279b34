"""Tidies up between jobs: collects garbage, and enforces the limit of host memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import time
from typing import Any

import psutil

from worker.embedded.memory import DeviceMemory
from worker.engine.life import Life

_GC_INTERVAL_S = 10.0
_log = logging.getLogger("worker")


class Rest:
    """Tidies up after a job. Call it on the executor's thread.

    Args:
        main: ComfyUI's ``main`` module.
        memory: frees models and caches.
        life: begins to drain when host memory stays above the limit.
        max_rss_bytes: host memory above which models and caches are freed; 0: no limit.
    """

    def __init__(self, main: Any, memory: DeviceMemory, life: Life, max_rss_bytes: int) -> None:
        self._main, self._memory, self._life = main, memory, life
        self._max_rss_bytes = max_rss_bytes
        self._last_gc = time.monotonic()

    def __call__(self) -> None:
        """Collect garbage, and free memory if the process has too much."""
        self._collect_garbage()
        limit = self._max_rss_bytes
        if limit and _rss() > limit and _trimmed_rss() > limit:
            self._memory.make_room()
            now = _trimmed_rss()
            _log.warning("Memory was over MAX_RSS_MB; with models and caches freed it is %.0f MB", now / 1e6)
            if now > limit:
                self._life.drain(f"{now / 1e6:.0f} MB of memory are over MAX_RSS_MB, with all caches freed")

    def _collect_garbage(self) -> None:
        """Do what the stock server does between prompts, at most every ten seconds."""
        if time.monotonic() - self._last_gc > _GC_INTERVAL_S:
            gc.collect()
            self._main.comfy.model_management.soft_empty_cache()
            self._main.hook_breaker_ac10a0.restore_functions()
            self._last_gc = time.monotonic()


def _rss() -> int:
    """Bytes of host memory that the process holds."""
    return int(psutil.Process().memory_info().rss)


def _trimmed_rss() -> int:
    """``_rss``, after the allocator has given back what it can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return _rss()
