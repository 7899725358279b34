"""Serves the page of a worker that has no other server: ``METRICS_PORT``."""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from worker.errors import StartError
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.metrics.page import MetricsPage

_log = logging.getLogger("worker")


@contextlib.contextmanager
def metrics_server(settings: Settings) -> Iterator[Callable[[MetricsPage], None]]:
    """Within this context, ``/metrics`` is answered at ``METRICS_PORT``, on all addresses of the machine.

    Gives a function that takes the page. Before, the answer is 503.

    Raises:
        StartError: the port cannot be used.
    """
    try:
        server = _Server(settings)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        port = settings.metrics_port
        raise StartError(f"METRICS_PORT={port} cannot be listened on ({reason}): use another port") from None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    _log.info("Metrics for Prometheus: port %d, /metrics", server.server_port)
    try:
        yield server.show
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, settings: Settings) -> None:
        token = settings.local_api_token
        self.token = token.get_secret_value() if token is not None else None
        self.page: MetricsPage | None = None
        super().__init__(("", settings.metrics_port), _Handler)

    def show(self, page: MetricsPage) -> None:
        self.page = page

    def handle_error(self, *_: object) -> None:
        """Log nothing: a client has gone."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # Seconds for a request to arrive.
    server_version = "comfy-worker"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._send(404, b"Here is only /metrics\n")
        elif not self._has_token():
            self._send(401, b"A token is needed: send 'Authorization: Bearer <LOCAL_API_TOKEN>'\n")
        elif self.server.page is None:
            self._send(503, b"The worker starts\n")
        else:
            page = self.server.page.rendered(self.headers.get("Accept", ""))
            self._send(200, page.content, page.content_type)

    def _has_token(self) -> bool:
        given = self.headers.get("Authorization", "").strip()
        given = given[7:].strip() if given[:7].lower() == "bearer " else given
        token = self.server.token
        return token is None or hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())

    def _send(self, status: int, content: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(HTTPStatus(status))
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing: Prometheus asks every few seconds."""
