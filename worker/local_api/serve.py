"""Runs the local API's server: listens, connects the queue to a worker, and ends on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from worker.answer.reply import Reply, encode
from worker.errors import StartError, WorkerDefunct
from worker.events import Listener
from worker.handler import JobHandler
from worker.local_api.app import make_app
from worker.local_api.connections import bounds
from worker.local_api.job import LocalJob
from worker.local_api.jobs import LocalJobs, Run
from worker.local_api.routes import status_body
from worker.local_api.webhooks import Webhooks
from worker.metrics.page import MetricsPage
from worker.readiness import expect_warm_up, make_ready
from worker.settings import Settings
from worker.worker import Worker
from worker.workflows.catalog import Catalog

_LAST_ANSWERS_S = 5.0  # How long callers can still fetch their results from a defunct worker.
_OPEN_TEXT = (
    "Everybody who can reach port %d can run jobs here, since there is no token: set LOCAL_API_TOKEN, or "
    "LOCAL_API_HOST=127.0.0.1 for this machine alone"
)
_log = logging.getLogger("worker")


def serve_local(settings: Settings) -> None:
    """Serve RunPod's API on this machine until SIGTERM or Ctrl-C, which also stop the jobs that run.

    Requests that come while ComfyUI starts are answered afterwards.

    Raises:
        StartError: the worker cannot listen at the address, or ComfyUI cannot start.
        BackendFailed: the worker is defunct, or a node that was stopped does not end.
    """
    worker = Worker(settings)
    with _listen(settings.local_api_host, settings.local_api_port) as listener:
        expect_warm_up(worker)
        with worker:
            make_ready(worker)
            worker.freeze.run(serve(worker, listener))
            worker.life.check()


async def serve(worker: Worker, listener: socket.socket, webhooks: Webhooks | None = None) -> None:
    """Serve the API of an open ``worker`` on ``listener`` until a signal or a cancellation ends it."""
    webhooks, settings = webhooks or Webhooks(), worker.settings

    def on_end(job: LocalJob) -> None:
        if job.webhook is not None:
            webhooks.post(job.webhook, status_body(job))

    handler = JobHandler(worker)
    jobs = LocalJobs(
        _runs_with(handler, settings.max_response_mb, shows_progress=settings.progress_interval_s > 0),
        settings.worker_concurrency,
        settings.local_api_results_mb * 1e6,
        on_end,
    )
    catalog = Catalog(worker.workflows, worker.converted, worker.definitions)
    metrics = MetricsPage(handler.reports, worker.runtime, lambda: jobs.counts()["inQueue"])
    config = uvicorn.Config(
        make_app(jobs, settings, catalog, metrics),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        **bounds(),
    )
    server = _Server(config)
    with _signals(server, jobs) as stop:
        _stop_when_defunct(worker, stop)
        host, port = listener.getsockname()[:2]
        seen_as = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104
        _log.info("The local API listens on %s:%d; its documentation: http://%s:%d/docs", host, port, seen_as, port)
        if is_open(host, settings):
            _log.warning(_OPEN_TEXT, port)
        try:
            await server.serve([listener])
        finally:
            await jobs.close()
            await webhooks.close()


def is_open(host: str, settings: Settings) -> bool:
    """Whether other machines may reach a server that listens on ``host``, an IP address, and need no token."""
    return settings.local_api_token is None and not ipaddress.ip_address(host).is_loopback


def _runs_with(handler: JobHandler, limit: float | None, *, shows_progress: bool) -> Run:
    async def run(raw: dict[str, Any], on_event: Listener) -> Reply:
        try:
            return await handler.reply(raw, on_event if shows_progress else None, limit)
        except WorkerDefunct as error:
            return encode(error.answer())

    return run


def _stop_when_defunct(worker: Worker, stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        if worker.life.failure is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.call_later, _LAST_ANSWERS_S, stop)

    worker.life.on_end(on_end)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise StartError(
            f"The local API cannot listen on {host}:{port} ({reason}): set LOCAL_API_HOST or LOCAL_API_PORT"
        ) from None


class _Server(uvicorn.Server):
    """Leaves signals to ``_signals``. uvicorn would wait for open requests, and raise the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _signals(server: uvicorn.Server, jobs: LocalJobs) -> Iterator[Callable[[], None]]:
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []

    def stop() -> None:
        server.should_exit = True
        closing.append(asyncio.ensure_future(jobs.close()))  # So that callers that wait for a job get an answer.

    numbers = (signal.SIGTERM, signal.SIGINT)
    with contextlib.suppress(ValueError, RuntimeError):  # Only the main thread can handle signals.
        for number in numbers:
            loop.add_signal_handler(number, stop)
    yield stop
