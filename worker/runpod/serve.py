"""The process that serves RunPod: its heartbeat, its log, and the loop that takes jobs and answers them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
from collections.abc import Iterator

from worker.errors import BackendFailed
from worker.logs import job_lines
from worker.readiness import make_ready
from worker.runpod.loop import Loop
from worker.runpod.sdk import (
    JobsProgress,
    PingJobMirror,
    RunPodLogger,
    run_fitness_checks,
    sdk_worker,
)
from worker.settings import Settings
from worker.worker import Worker

_log = logging.getLogger("worker")
_sdk_log = logging.getLogger("worker.runpod")
_SDK_LEVELS = {
    "NOTSET": logging.NOTSET,
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}


def serve_runpod(settings: Settings) -> None:
    """Take jobs from RunPod and answer them, until SIGTERM, SIGINT or, with ``REFRESH_WORKER``, the first answer.

    In this order: heartbeats, from a process that is forked while this one is still small and has neither threads nor a
    CUDA context; ComfyUI; the SDK's fitness checks; the loop.

    Raises:
        StartError: ComfyUI cannot start.
        BackendFailed: the worker is defunct, or a node that was stopped does not end.
    """
    RunPodLogger.level = settings.runpod_log_level
    RunPodLogger.log = _log_sdk
    _start_heartbeat()
    with Worker(settings) as worker:
        make_ready(worker)
        asyncio.run(run_fitness_checks())
        # Not asyncio.run: at its end it would wait for threads, of which a node may hold one for ever.
        asyncio.new_event_loop().run_until_complete(Loop(worker).run())
        if worker.life.failure is not None:
            raise BackendFailed(f"The worker ends, since it is defunct: {worker.life.failure}")


def _log_sdk(_: RunPodLogger, message: object, message_level: str = "INFO", job_id: str | None = None) -> None:
    """In place of the SDK's own lines, which it prints."""
    names = list(_SDK_LEVELS)
    wanted = RunPodLogger.level
    if wanted == "NOTSET" or names.index(wanted) > names.index(message_level if message_level in names else "INFO"):
        return
    with job_lines(job_id) if job_id else contextlib.nullcontext():
        _sdk_log.log(_SDK_LEVELS.get(message_level, logging.INFO), "%s", message)


def _start_heartbeat() -> None:
    mirror = PingJobMirror()
    JobsProgress().set_mirror(mirror)
    with _forks_die_with_this_process():
        sdk_worker.heartbeat.start_ping(mirror)


_fork_dies_with: int | None = None


@contextlib.contextmanager
def _forks_die_with_this_process() -> Iterator[None]:
    """A heartbeat that outlives its worker would tell RunPod that a dead worker lives."""
    global _fork_dies_with  # The hook cannot be taken back, nor given an argument.
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the worker, which then ends this process.
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # Retries are told by the SDK, once.
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != _fork_dies_with:  # It died before this was said.
        os._exit(0)
