"""A stand-in for hosts of models, such as Hugging Face: files on loopback, with all that goes wrong on the way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def safetensors(size: int, seed: str = "a") -> bytes:
    """A sound safetensors file of this many bytes, 300 or more. Files of other seeds differ."""
    data = size - 8 - 256
    tensor = {"dtype": "U8", "shape": [data], "data_offsets": [0, data]}
    header = json.dumps({"__metadata__": {"seed": seed}, "w": tensor}).ljust(256)
    block = hashlib.sha256(seed.encode()).digest()
    return struct.pack("<Q", 256) + header.encode() + (block * (data // 32 + 1))[:data]


@dataclass
class Served:
    """How a path is answered.

    Attributes:
        content: the file.
        sha256: what the host says of it in ``X-Linked-ETag``; empty if it says nothing.
        cut: the connection ends after so many bytes, as often as ``cuts`` says.
        rate: bytes a second; 0: as fast as it goes.
        statuses: are answered first, one a request.
        headers: further headers.
        redirect: where the path leads to; empty if to itself.
        ranges: whether parts can be had.
        length: what ``Content-Length`` says instead of the truth.
        chunked: it tells no size at all, and ends the connection after the file.
    """

    content: bytes = b""
    sha256: str = ""
    cut: int = 0
    cuts: int = 0
    rate: float = 0
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    redirect: str = ""
    ranges: bool = True
    length: int | None = None
    etag: str = '"v1"'
    chunked: bool = False


@dataclass(frozen=True)
class Request:
    """What was asked."""

    path: str
    host: str
    authorization: str | None
    range: str | None
    status: int


class ModelHost:
    """Serves ``files`` while ``with`` lasts. ``requests``: all that were made; ``sent``: bytes of content;
    ``most_at_once``: the most requests that were being answered at one time.

    ``tls``: a certificate and its key, to be reached as another host by https.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[Request] = []
        self.sent = self.most_at_once = self._now = 0
        self._lock = threading.Lock()
        self.on_request: Callable[[str], None] = lambda _: None
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError), host.counted():
                    host.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as http.server calls it.
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Within this context, one more request is being answered."""
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def add(self, path: str, content: bytes, *, tell: bool = True) -> Served:
        """Serve ``content``. ``tell``: say its SHA-256 and commit, as Hugging Face does."""
        served = Served(content)
        if tell:
            served.sha256 = hashlib.sha256(content).hexdigest()
            served.headers = {"X-Linked-ETag": f'"{served.sha256}"', "X-Linked-Size": str(len(content))}
            served.headers["X-Repo-Commit"] = COMMIT
        self.files[path] = served
        return served

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path, asked = handler.path.partition("?")[0], handler.headers.get("Range")
        self.on_request(path)
        served = self.files.get(path)
        status = 404 if served is None else served.statuses.pop(0) if served.statuses else 200
        if served is None or status != 200 or served.redirect:
            status = 302 if status == 200 else status
            self._note(handler, status)
            handler.send_response(status)
            for name, value in (served.headers if served else {}).items():
                handler.send_header(name, value)
            if served and served.redirect and status == 302:
                handler.send_header("Location", served.redirect)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start, end = self._part(served, None if served.chunked else asked, handler.headers.get("If-Range"))
        total = len(served.content)
        status = 200 if start is None else 416 if start >= total else 206
        self._note(handler, status)
        handler.send_response(status)
        body = served.content if start is None else served.content[start : end + 1]
        if start is not None:
            place = f"{start}-{end}" if status == 206 else "*"
            handler.send_header("Content-Range", f"bytes {place}/{served.length or total}")
        if served.chunked:
            handler.send_header("Connection", "close")
        else:
            handler.send_header("Content-Length", str(served.length if served.length and start is None else len(body)))
        if served.etag:
            handler.send_header("ETag", served.etag)
        for name, value in served.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        self._send(handler, served, body)

    def _part(self, served: Served, asked: str | None, version: str | None) -> tuple[int | None, int]:
        if not asked or not served.ranges or (version and version != served.etag):
            return None, 0
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return int(first), min(int(last or len(served.content) - 1), len(served.content) - 1)

    def _send(self, handler: BaseHTTPRequestHandler, served: Served, body: bytes) -> None:
        cut = len(body)
        if served.cuts and len(body) > served.cut:
            served.cuts -= 1
            cut = served.cut
        step = max(1, int(served.rate / 50)) if served.rate else 1 << 18
        for place in range(0, cut, step):
            piece = body[place : min(place + step, cut)]
            handler.wfile.write(piece)
            if len(body) > 1:
                self.sent += len(piece)
            if served.rate:
                time.sleep(len(piece) / served.rate)
        if cut < len(body):
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True

    def _note(self, handler: BaseHTTPRequestHandler, status: int) -> None:
        headers = handler.headers
        self.requests.append(
            Request(handler.path, headers.get("Host", ""), headers.get("Authorization"), headers.get("Range"), status)
        )
