"""Knows whether the worker still takes jobs, and calls listeners when it stops taking them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from worker.errors import BackendFailed

_log = logging.getLogger("worker")


class Life:
    """The life of one worker. Any thread may use it.

    A worker takes jobs until it begins to drain or becomes defunct. A worker that drains finishes the jobs that it has
    taken. A defunct worker cannot run another job: it does not begin those that wait, and ends with an error.

    Attributes:
        device_is_broken: whether it is defunct since a call to the device may never return.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_draining = False
        self._failure: str | None = None
        self.device_is_broken = False
        self._listeners: list[Callable[[], object]] = []

    @property
    def failure(self) -> str | None:
        """Why the worker is defunct; None if it is not."""
        return self._failure

    @property
    def takes_jobs(self) -> bool:
        """Whether the worker still takes jobs."""
        return self._failure is None and not self._is_draining

    def drain(self, reason: str) -> None:
        """Take no more jobs, and run those that were taken. Only the first reason is logged."""
        with self._lock:
            if self._is_draining:
                return
            self._is_draining = True
        _log.info("The worker takes no more jobs: %s", reason)
        self._tell()

    def fail(self, reason: str, *, of_device: bool = False) -> None:
        """Become defunct. Only the first reason counts. ``of_device``: whether the device is broken."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure, self.device_is_broken = reason, of_device
        _log.critical("The worker is defunct: %s", reason)
        self._tell()

    def check(self) -> None:
        """Look whether the worker is defunct.

        Raises:
            BackendFailed: it is.
        """
        if self._failure is not None:
            error = BackendFailed(f"The worker ends, since it is defunct: {self._failure}")
            error.device_is_broken = self.device_is_broken
            raise error

    def on_end(self, listener: Callable[[], object]) -> None:
        """Call ``listener``, on any thread, when the worker begins to drain or becomes defunct; now if it has."""
        self._listeners.append(listener)
        if not self.takes_jobs:
            listener()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
