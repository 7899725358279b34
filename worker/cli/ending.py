"""Ends the process."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import sys
from typing import NoReturn


def end_process(code: int) -> NoReturn:
    """End the process now.

    Threads that node packs have left running would keep it alive, and Python would take torch apart for seconds.
    """
    for child in multiprocessing.active_children():
        child.kill()  # Python would send SIGTERM, and wait.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # Whoever read it has gone, or it is closed.
            stream.flush()
    os._exit(code)
