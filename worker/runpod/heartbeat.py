"""Starts the heartbeat, a small process that tells RunPod that this worker lives and which jobs it runs."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator

from worker.runpod.sdk import Heartbeat, JobsProgress, PingJobMirror

_PR_SET_PDEATHSIG = 1


def start_heartbeat(beside: Callable[[], None] | None = None) -> None:
    """Fork the process that sends heartbeats with the ids in the SDK's ``JobsProgress``. It dies with this process.

    Call it while this process is small and has neither threads nor a CUDA context, since a fork inherits its state.

    Args:
        beside: what that process does on a second thread. A heartbeat may wait for an answer for a minute.
    """
    send_heartbeats = Heartbeat.process_loop

    def process_loop(*arguments: object) -> None:
        if beside is not None:
            threading.Thread(target=beside, name="last-word", daemon=True).start()
        send_heartbeats(*arguments)

    Heartbeat.process_loop = staticmethod(process_loop)
    mirror = PingJobMirror()
    JobsProgress().set_mirror(mirror)
    with _forks_die_with_this_process():
        Heartbeat().start_ping(mirror)


_fork_dies_with: int | None = None


@contextlib.contextmanager
def _forks_die_with_this_process() -> Iterator[None]:
    """Let processes forked in this context die with this one. Otherwise RunPod would think that a dead worker lives."""
    global _fork_dies_with  # A fork hook cannot be removed and gets no argument, so it reads this variable.
    os.register_at_fork(after_in_child=_die_with_parent)
    _fork_dies_with = os.getpid()
    try:
        yield
    finally:
        _fork_dies_with = None


def _die_with_parent() -> None:
    if _fork_dies_with is None:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the worker, which then ends this process.
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # The SDK itself logs a request whose retries fail.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _fork_dies_with:  # The parent died before prctl was called.
        os._exit(0)
