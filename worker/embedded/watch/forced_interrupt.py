"""Raises ComfyUI's interrupt in a node that does not look whether it was told to stop."""

from __future__ import annotations

import contextlib
import ctypes
import threading


class ForcedInterrupt:
    """An exception that any thread can raise in the one that runs a prompt, between its ``open`` and its ``close``.

    ComfyUI reads its own flag before each node and at each step of a sampler. A node that loops in Python and never
    reads it is ended by this at its next Python instruction. Code in C is ended when it returns, not before.

    Args:
        error: ComfyUI's ``InterruptProcessingException``.

    Attributes:
        thread: the id of the thread between ``open`` and ``close``; None before and after.
        was_raised: whether ``throw`` was called since ``open``.
    """

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error
        self._lock = threading.Lock()
        self.thread: int | None = None
        self.was_raised = False

    def open(self) -> None:
        """From now on the calling thread may be interrupted."""
        with self._lock:
            self.thread, self.was_raised = threading.get_ident(), False

    def close(self) -> None:
        """The calling thread is left alone from now on. What is raised in here comes too late, and is forgotten."""
        while self.thread is not None:
            with contextlib.suppress(self._error), self._lock:
                self.thread = None
        if self.was_raised:
            self._receive()

    def _receive(self) -> None:
        """Let what may still be on its way arrive here.

        It is not taken back: Python 3.11 then looks for it for ever, and whoever sets a profiler or a tracer stands
        still (the flag of ``PyThreadState_SetAsyncExc`` falls only when something is raised).
        """
        with contextlib.suppress(self._error):
            _raise_in(threading.get_ident(), self._error)
            while True:
                pass

    def throw(self) -> None:
        """Raise the error in the thread that runs a prompt, if there is one."""
        with self._lock:
            if self.thread is not None:
                self.was_raised = True
                _raise_in(self.thread, self._error)


def _raise_in(thread: int, error: type[BaseException]) -> None:
    """Python's ``PyThreadState_SetAsyncExc``. An earlier error that was not raised yet is replaced."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
