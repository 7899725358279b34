"""Ends the process."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import sys
import threading
from typing import NoReturn

_EXIT_FUNCTIONS_S = 5.0


def end_process(code: int, *, may_hang: bool = False) -> NoReturn:
    """End the process now. ``may_hang``: whether a function that a node pack has registered may never return.

    Threads that node packs have left running would keep it alive, and Python would take torch apart for seconds.
    """
    for child in multiprocessing.active_children():
        child.kill()  # Python would send SIGTERM, and wait.
    if may_hang:
        _run_exit_functions_for_a_while()
    else:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # Whoever read it has gone, or it is closed.
            stream.flush()
    os._exit(code)


def _run_exit_functions_for_a_while() -> None:
    """Run them on another thread. That of a node pack may wait for a device that is broken, and does not answer."""
    thread = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
    thread.start()
    thread.join(_EXIT_FUNCTIONS_S)
