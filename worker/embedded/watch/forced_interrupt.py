"""Raises ComfyUI's interrupt in a node that does not look whether it was told to stop."""

from __future__ import annotations

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
        """The calling thread is left alone from now on. What was to be raised and was not is forgotten."""
        with self._lock:
            if self.thread is not None:
                _raise_in(self.thread, None)
            self.thread = None

    def throw(self) -> None:
        """Raise the error in the thread that runs a prompt, if there is one."""
        with self._lock:
            if self.thread is not None:
                self.was_raised = True
                _raise_in(self.thread, self._error)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Python's ``PyThreadState_SetAsyncExc``. None takes back what was not raised yet."""
    value = ctypes.py_object() if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), value)
