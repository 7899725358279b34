"""Runs the process that serves RunPod: starts heartbeat, ComfyUI, fitness checks and the loop, and logs for the SDK."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator

from worker.logs import job_lines
from worker.readiness import expect_warm_up, make_ready
from worker.runpod.board import Board
from worker.runpod.heartbeat import start_heartbeat
from worker.runpod.loop import Loop
from worker.runpod.sdk import RunPodLogger, lend_keys, run_fitness_checks
from worker.runpod.standby.crash import CrashReport
from worker.runpod.standby.last_word import LastWord
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

    The heartbeat is started first: it must be forked while this process is small, without threads or a CUDA context.

    Raises:
        StartError: ComfyUI cannot start, or METRICS_PORT cannot be used.
        BackendFailed: the worker is defunct, or a node that was stopped does not end.
    """
    RunPodLogger.level = settings.runpod_log_level
    RunPodLogger.log = _log_sdk
    lend_keys(settings)
    worker = Worker(settings)
    board = Board(settings.worker_concurrency)
    crash = CrashReport()
    start_heartbeat(LastWord(board, settings, worker.state, crash).watch if settings.freeze_timeout_s else None)
    expect_warm_up(worker)
    with _metrics(settings) as show, worker:
        make_ready(worker)
        if settings.freeze_timeout_s:
            crash.begin()  # Not before ComfyUI's start, which sends the stacks to stderr.
        board.has_device = worker.runtime is not None and worker.runtime.memory.is_cuda
        asyncio.run(run_fitness_checks())
        loop = Loop(worker, board)
        show(loop, worker)
        worker.freeze.run(loop.run(), loop.has_jobs)
        worker.life.check()


@contextlib.contextmanager
def _metrics(settings: Settings) -> Iterator[Callable[[Loop, Worker], None]]:
    """Serve ``/metrics`` if the settings name a port. Gives a function that shows the jobs of a loop there."""
    if not settings.metrics_port:
        yield lambda _, __: None
        return
    from worker.metrics.page import MetricsPage  # Not needed without the port.
    from worker.metrics.server import metrics_server

    with metrics_server(settings) as show:
        yield lambda loop, worker: show(MetricsPage(loop.reports, worker.runtime))


def _log_sdk(_: RunPodLogger, message: object, message_level: str = "INFO", job_id: str | None = None) -> None:
    """Log a line of the SDK, which would print the line itself."""
    names = list(_SDK_LEVELS)
    wanted = RunPodLogger.level
    if wanted == "NOTSET" or names.index(wanted) > names.index(message_level if message_level in names else "INFO"):
        return
    with job_lines(job_id) if job_id else contextlib.nullcontext():
        _sdk_log.log(_SDK_LEVELS.get(message_level, logging.INFO), "%s", message)
