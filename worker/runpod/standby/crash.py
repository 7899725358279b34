"""Lets the heartbeat process hear when the worker crashes, and lets it live for some seconds until its job is answered.

torch ends the process with SIGABRT if CUDA refuses to free a tensor, as it does after a fatal error of the device. No
code of Python can run then, and in a container the heartbeat process dies together with the worker, its process 1.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import select
import signal
from pathlib import Path

# How many seconds a crashed worker lives on is the signal's number, since that is what a handler gets: 4 to 11.
_FATAL = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_MOST_BYTES = 64 * 1024


class CrashReport:
    """A pipe into which ``faulthandler`` writes the stacks of all threads when the process crashes.

    Make it in the worker, before the heartbeat process is forked.
    """

    def __init__(self) -> None:
        # A crash must not wait for a reader.
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._worker = os.getpid()
        self._written = b""

    def begin(self) -> None:
        """Write into the pipe from now on. Call it in the worker, after the fork.

        A handler in C must do it. The thread that has crashed calls ``sleep`` with the signal's number, and the others
        go on meanwhile. Then the signal does what it always does, since a handler of ``sysv_signal`` is called once.
        """
        faulthandler.disable()  # ComfyUI has enabled it. Otherwise its handlers would not be set anew, after these.
        libc = ctypes.CDLL(None)
        libc.sysv_signal.argtypes, libc.sysv_signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        for number in _FATAL:
            libc.sysv_signal(number, ctypes.cast(libc.sleep, ctypes.c_void_p))
        faulthandler.enable(self._writer)

    def wait(self, seconds: float) -> signal.Signals | None:
        """Wait so long for a crash of the worker. Returns its signal; None if there was none. For the other process."""
        readable, _, _ = select.select([self._reader], [], [], seconds)
        if readable:
            with contextlib.suppress(OSError):
                self._written = (self._written + os.read(self._reader, _MOST_BYTES))[-_MOST_BYTES:]
        # A process that the worker has forked has the same pipe. Its crash leaves the worker's handlers in place.
        return self._signal() if self._written else None

    @property
    def stacks(self) -> str:
        """What was written."""
        return self._written.decode("utf-8", "replace")

    def _signal(self) -> signal.Signals | None:
        """The signal whose handler the worker has lost by calling it."""
        try:
            lines = Path(f"/proc/{self._worker}/status").read_text().splitlines()
        except OSError:  # It has ended.
            return None
        caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), ~0)
        return next((number for number in _FATAL if not caught >> (number - 1) & 1), None)
