"""A worker's life, as explicit states: what it is, and who wants to know when that changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import StrEnum

_log = logging.getLogger("worker")


class LifeState(StrEnum):
    """What a worker is at a moment.

    ``starting`` → ``ready`` ⇄ ``busy`` → ``draining``: it finishes what it has and takes no more. ``defunct``: whatever
    it was before, it cannot run another job; it takes none, leaves what it has not begun, and ends with an error.
    """

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    DRAINING = "draining"
    DEFUNCT = "defunct"


class Life:
    """The state of one worker. May be told and asked on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = False
        self._busy = False
        self._draining: str | None = None
        self._failure: str | None = None
        self._listeners: list[Callable[[], object]] = []

    @property
    def state(self) -> LifeState:
        """What the worker is now."""
        if self._failure is not None:
            return LifeState.DEFUNCT
        if self._draining is not None:
            return LifeState.DRAINING
        if not self._started:
            return LifeState.STARTING
        return LifeState.BUSY if self._busy else LifeState.READY

    @property
    def failure(self) -> str | None:
        """Why it is defunct, or None where it is not."""
        return self._failure

    @property
    def takes_jobs(self) -> bool:
        """Whether it would begin another job."""
        return self._failure is None and self._draining is None

    def started(self) -> None:
        """It can run jobs from now on."""
        self._started = True

    def works(self, busy: bool) -> None:
        """A job begins, or has ended."""
        self._busy = busy

    def drain(self, reason: str) -> None:
        """Take no more jobs; those that were taken are run. The first reason counts."""
        with self._lock:
            if self._draining is not None:
                return
            self._draining = reason
        _log.info("The worker takes no more jobs: %s", reason)
        self._tell()

    def fail(self, reason: str) -> None:
        """Become defunct. The first reason counts."""
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
