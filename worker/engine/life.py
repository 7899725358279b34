"""A worker's life: whether it takes jobs, and who is told when it stops taking them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger("worker")


class Life:
    """The life of one worker. It may be told and asked on any thread.

    A worker takes jobs until it begins to drain or becomes defunct. One that drains finishes the jobs that it has. A
    defunct one cannot run another job: it leaves what it has not begun, and ends with an error.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_draining = False
        self._failure: str | None = None
        self._listeners: list[Callable[[], object]] = []

    @property
    def failure(self) -> str | None:
        """Why it is defunct; None if it is not."""
        return self._failure

    @property
    def takes_jobs(self) -> bool:
        """Whether it would begin another job."""
        return self._failure is None and not self._is_draining

    def drain(self, reason: str) -> None:
        """Take no more jobs, and run those that were taken. Only the first reason is logged."""
        with self._lock:
            if self._is_draining:
                return
            self._is_draining = True
        _log.info("The worker takes no more jobs: %s", reason)
        self._tell()

    def fail(self, reason: str) -> None:
        """Become defunct. Only the first reason counts."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure = reason
        _log.critical("The worker is defunct: %s", reason)
        self._tell()

    def on_end(self, listener: Callable[[], object]) -> None:
        """Let ``listener`` be called, on any thread, when the worker begins to drain or becomes defunct."""
        self._listeners.append(listener)
        if not self.takes_jobs:
            listener()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
