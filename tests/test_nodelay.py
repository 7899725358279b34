"""Every TCP connection that the worker opens or accepts has ``TCP_NODELAY``.

Without it, what is written in two pieces (headers, then a body) waits some 40 ms for the other side's acknowledgement,
for each request on a connection that stays open.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
from local_api import serving
from s3_server import FaultyS3

from worker import Worker
from worker.bucket.address import parse_endpoint
from worker.bucket.bucket import Bucket
from worker.bucket.trial import _fetch
from worker.job.files.fetch import FetchLimits, fetch_all
from worker.local_api.webhooks import Webhooks
from worker.remote.http import HttpClient
from worker.remote.socket import EventSocket
from worker.runpod.sdk import AsyncClientSession

_WEBSOCKET_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def is_at_once(mine: tuple[str, int], other: tuple[str, int]) -> bool:
    """Whether this process's connection from the address ``mine`` to ``other`` sends small packets at once."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # It was closed meanwhile, or is not connected.
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as found:
                if (found.getsockname(), found.getpeername()) == (mine, other):
                    return bool(found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    raise AssertionError(f"no connection from {mine} to {other}")


class Server(BaseHTTPRequestHandler):
    """Notes of each request whether its client, which is in this process, sends at once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen: ClassVar[list[bool]] = []

    def answer(self) -> None:
        self.seen.append(is_at_once(self.client_address, self.request.getsockname()))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if key := self.headers.get("Sec-WebSocket-Key"):
            return self._begin_websocket(key)
        body = b"" if self.command == "PUT" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def _begin_websocket(self, key: str) -> None:
        accepted = hashlib.sha1((key + _WEBSOCKET_KEY).encode()).digest()  # noqa: S324 - as the protocol wants it.
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accepted).decode())
        self.end_headers()

    def log_message(self, *_: object) -> None: ...

    do_GET = do_POST = do_PUT = answer  # noqa: N815


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a ``Server``."""
    Server.seen.clear()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def runpod_session(address: str) -> None:
    """As jobs are taken and results are posted."""

    async def post() -> None:
        async with AsyncClientSession() as session, session.post(f"{address}/job-done", data=b"{}") as response:
            await response.read()

    asyncio.run(post())


def webhook(address: str) -> None:
    async def post() -> None:
        webhooks = Webhooks()
        webhooks.post(address, b"{}")
        await webhooks.close()

    asyncio.run(post())


def event_socket(address: str) -> None:
    events = EventSocket(address)
    events.open()
    events.close()


def input_file(address: str) -> None:
    """By a name, since the worker resolves names itself."""
    fetch_all({"in.png": address.replace("127.0.0.1", "localhost")}, FetchLimits(1000, 5))


def bucket(address: str, *, public_only: bool = False) -> None:
    target = Bucket(parse_endpoint(address, "pictures"), "key", "secret", public_only=public_only)
    target.client.put_object(Bucket="pictures", Key="a.png", Body=b"content")


CLIENTS: dict[str, Callable[[str], Any]] = {
    "RunPod's jobs and results": runpod_session,
    "RunPod's heartbeat, and results of a worker that stands still": lambda url: requests.post(url, b"{}", timeout=9),
    "webhook": webhook,
    "ComfyUI's HTTP": lambda url: HttpClient(url).post("/prompt", {}),
    "ComfyUI's websocket": event_socket,
    "input by URL": input_file,
    "bucket": bucket,
    "bucket of a caller": lambda url: bucket(url, public_only=True),
    "trial of a bucket": _fetch,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_opened(client: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("worker.job.files.fetch", "worker.bucket.public_only"):
        monkeypatch.setattr(f"{module}.is_public", lambda _: True)
    CLIENTS[client](server)
    assert Server.seen
    assert all(Server.seen)


def test_what_the_local_api_accepts(worker: Worker) -> None:
    with serving(worker) as address:
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
        connection.request("GET", "/health")
        connection.getresponse().read()
        ours, theirs = connection.sock.getsockname(), connection.sock.getpeername()
        assert is_at_once(theirs, ours)
        connection.close()


def test_what_the_faulty_bucket_of_the_tests_accepts(server: str) -> None:
    """It would add 40 ms to each answer with a body."""
    with FaultyS3(server) as faulty:
        connection = http.client.HTTPConnection(faulty.url.removeprefix("http://"), timeout=10)
        connection.request("GET", "/pictures/a.png")
        connection.getresponse().read()
        assert is_at_once(connection.sock.getpeername(), connection.sock.getsockname())
        connection.close()
