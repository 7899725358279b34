"""Ends the process if its event loop stands still or a job does not end in time, whatever holds Python's lock."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

OVERDUE_S = 15.0  # After the time at which a job must have ended.
_TICK_S = 0.5


class FreezeWatch:
    """A timer that needs no lock. Each tick of the process's event loop sets it anew.

    The timer is that of ``faulthandler``: a thread in C. When it runs out, it writes the stacks of all threads to the
    log, and ends the process with exit code 1. A Python thread could not do this, since the thread that stands still
    may hold Python's lock. A process has one such timer, so only one FreezeWatch may ``run``.

    Args:
        timeout_s: how long the event loop may stand still; 0: the process is never ended.

    Attributes:
        on_tick: called at each tick with the time at which the timer runs out, by ``time.monotonic``; 0.0 if it is not
            set.
    """

    def __init__(self, timeout_s: float = 0.0) -> None:
        self.timeout_s = self._usual_timeout_s = timeout_s
        self.on_tick: Callable[[float], object] = lambda _: None
        self._lock = threading.Lock()  # So that of two calls, the later one sets the timer.
        self._descriptor = -1  # Not before ``run``.
        self._ends_at = 0.0
        self._job_ends_by: float | None = None

    def run(self, main: Coroutine[Any, Any, None], is_busy: Callable[[], bool] = lambda: True) -> None:
        """Run ``main`` on a new event loop and watch the loop. Afterwards the process has ``timeout_s`` to end.

        Unlike ``asyncio.run``, this does not wait for all threads at its end, since a node may hold one for ever.

        Args:
            main: what to run.
            is_busy: whether the loop must be watched now. A platform may pause a process that has nothing to do, and
                the timer would run out meanwhile.
        """
        loop = asyncio.new_event_loop()
        if not self.timeout_s:
            loop.run_until_complete(main)
            return
        self._descriptor = _log_descriptor()
        _end_on(signal.SIGQUIT, self._descriptor)

        def tick() -> None:
            loop.call_later(min(_TICK_S, self.timeout_s / 4), tick)
            self.tick(is_busy=is_busy())

        loop.call_soon(tick)
        try:
            _named(_reason(self.timeout_s))(lambda: loop.run_until_complete(main))
        finally:
            self.tick()

    def tick(self, *, is_busy: bool = True) -> None:
        """Set the timer anew, or stop it if the loop is not busy. Any thread may call this."""
        with self._lock:
            if self._descriptor < 0:
                return
            if is_busy:
                self._set_timer(time.monotonic())
            elif self._ends_at:
                faulthandler.cancel_dump_traceback_later()
                self._ends_at = 0.0
            self.on_tick(self._ends_at)

    def begin(self) -> None:
        """Set the timer if it is not set, since the loop has just become busy."""
        if not self._ends_at:
            self.tick()

    def job_ends_by(self, at: float | None) -> None:
        """Note when the job that runs must have ended, by ``time.monotonic``; None: at no time, or no job runs."""
        self._job_ends_by = at
        if at is not None and self._ends_at and at + OVERDUE_S < self._ends_at:
            self.tick()

    def end_soon(self, *, soon: bool) -> None:
        """Note whether the process is about to end. Then it may not stand still for long, also after ``run``."""
        self.timeout_s = min(self._usual_timeout_s, OVERDUE_S) if soon else self._usual_timeout_s

    def _set_timer(self, now: float) -> None:
        self._ends_at = now + self.timeout_s
        if self._job_ends_by is not None:
            self._ends_at = min(self._ends_at, self._job_ends_by + OVERDUE_S)
        seconds = max(self._ends_at - now, 0.001)  # The job may be overdue already.
        try:
            faulthandler.dump_traceback_later(seconds, exit=True, file=self._descriptor)
        except RuntimeError:  # The system gives no further thread. On RunPod, the heartbeat process still looks.
            self._ends_at = 0.0


def _reason(timeout_s: float) -> str:
    return (
        f"The worker ended itself: its event loop stood still for {timeout_s:g} s (FREEZE_TIMEOUT_S), "
        f"or a job was {OVERDUE_S:g} s past its time. One of these threads is at fault"
    )


def _named(text: str) -> Callable[[Callable[[], None]], None]:
    """A function that calls another one. Stacks show it as ``text``.

    This is how the reason comes into the log: the code that writes the stacks can write nothing else.
    """

    def call(function: Callable[[], None]) -> None:
        function()

    call.__code__ = call.__code__.replace(co_name=text)
    return call


def _end_on(number: signal.Signals, descriptor: int) -> None:
    """Let a signal do what the timer does: write all stacks and end the process, without any lock.

    The exit code is the signal's number. Process 1 of a container can only be ended by a signal that it handles.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(number, ctypes.cast(libc._exit, ctypes.c_void_p))
    faulthandler.register(number, descriptor, all_threads=True, chain=True)


def _log_descriptor() -> int:
    """A descriptor of the log's stream that never blocks: whoever reads the log may have stopped reading."""
    descriptor = 2
    for handler in logging.getLogger().handlers:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # This handler has no stream with a descriptor.
            descriptor = getattr(handler, "stream", sys.stderr).fileno()
            break
    try:
        # Opened anew, since the flag belongs to the open file, which the log's own writes use too.
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
    except OSError:  # A socket, or another user's pipe.
        return os.dup(descriptor)
