"""A real S3 server on loopback (moto's), and one before it that fails on order."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

KEYS = {"aws_access_key_id": "test-key-id", "aws_secret_access_key": "test-secret-key"}


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """A server with the bucket ``pictures``; gives its address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client(url).create_bucket(Bucket="pictures")
        yield url
    finally:
        server.stop()


def client(url: str) -> Any:
    """A client of that server."""
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS)


def stored(url: str) -> dict[str, tuple[bytes, str]]:
    """Content and content type of everything in the bucket, by key."""
    s3, found = client(url), {}
    for entry in s3.list_objects_v2(Bucket="pictures").get("Contents", []):
        content = s3.get_object(Bucket="pictures", Key=entry["Key"])
        found[entry["Key"]] = content["Body"].read(), content["ContentType"]
    return found


@dataclass(frozen=True)
class Refusal:
    """An answer of S3 that refuses a request. ``headers``: may have a ``Date`` of its own."""

    status: int
    code: str = "Ordered"
    more: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FaultyS3:
    """Hands requests on to ``target``, but as ``fault`` says of one.

    That is an HTTP status or a Refusal to answer with, 0 to cut the request, or None to pass it.
    """

    target: str
    fault: Callable[[str, str], int | Refusal | None] = lambda method, path: None
    delay_s: float = 0.0
    seen: list[tuple[str, str, float]] = field(default_factory=list)

    def __enter__(self) -> FaultyS3:
        handler = type("Handler", (_Handler,), {"faulty": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Otherwise a body waits 40 ms for the acknowledgement of its headers.
    faulty: FaultyS3

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.faulty.seen.append((self.command, self.path, time.monotonic()))
        time.sleep(self.faulty.delay_s)
        fault = self.faulty.fault(self.command, self.path)
        if fault == 0:
            self.close_connection = True
            return
        if fault is not None:
            refusal = fault if isinstance(fault, Refusal) else Refusal(fault)
            body = f"<Error><Code>{refusal.code}</Code>{refusal.more}</Error>".encode()
            self._send(refusal.status, {"Content-Type": "application/xml", **refusal.headers}, body)
            return
        connection = http.client.HTTPConnection(self.faulty.target.removeprefix("http://"))
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        self._send(answer.status, dict(answer.getheaders()), answer.read())
        connection.close()

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Date", headers.get("Date") or self.date_time_string())
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815
