"""A TCP proxy before a ComfyUI server, which cuts, swallows, delays, forges and refuses as it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

_PIECE = 65536


class CuttingProxy:
    """Passes connections on to ``target`` while ``with`` lasts.

    Attributes:
        cut_after: frames of the server that pass before a websocket is cut; None for any number.
        swallow: whether what the server says on a websocket is lost from now on.
        refusing: whether new connections are closed at once.
        forge: frames that come before the server's first on each websocket.
        answer: asked with the first line of each HTTP request; what it gives is the answer, without asking the server.
        spoil: the same, but the server gets the request, and what it answers is lost.
        websockets: how many there were.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_after: int | None = None
        self.swallow = self.refusing = False
        self.forge = b""
        self.answer: Callable[[str], bytes | None] = lambda _: None
        self.spoil: Callable[[str], bytes | None] = lambda _: None
        self.websockets = 0
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut every connection."""
        connections, self._open = self._open, []
        for connection in connections:
            _cut(connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                _cut(client)
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            _cut(client)
            return
        self._open += [client, server]
        first = client.recv(_PIECE)
        is_websocket = first.startswith(b"GET /ws")
        self.websockets += is_websocket
        deaf = threading.Event()
        threading.Thread(target=self._pass_answers, args=(server, client, is_websocket, deaf), daemon=True).start()
        with contextlib.suppress(OSError):
            piece = first
            while piece:
                forged = None if is_websocket else self._forged(piece, self.answer)
                if forged is not None:
                    _answer(client, forged)
                    break
                spoilt = None if is_websocket else self._forged(piece, self.spoil)
                if spoilt is not None:
                    deaf.set()
                    server.sendall(piece)
                    _answer(client, spoilt, server)
                    break
                server.sendall(piece)
                piece = client.recv(_PIECE)
        _cut(server)
        _cut(client)

    def _forged(self, piece: bytes, answer: Callable[[str], bytes | None]) -> bytes | None:
        """The answer to a request that begins here."""
        line = piece.split(b"\r\n", 1)[0].decode("latin-1")
        return answer(line) if line.endswith("HTTP/1.1") else None

    def _pass_answers(
        self, server: socket.socket, client: socket.socket, is_websocket: bool, deaf: threading.Event
    ) -> None:
        frames = 0
        with contextlib.suppress(OSError):
            while piece := server.recv(_PIECE):
                if is_websocket and frames == 1:
                    client.sendall(self.forge)
                if not deaf.is_set() and not (is_websocket and self.swallow and frames):
                    client.sendall(piece)
                frames += 1  # The first is the handshake's.
                if is_websocket and self.cut_after is not None and frames > self.cut_after:
                    break
        if not deaf.is_set():
            _cut(client)
            _cut(server)


def _answer(client: socket.socket, forged: bytes, server: socket.socket | None = None) -> None:
    """Answer once the whole request is there; a connection that is closed with bytes unread loses the answer."""
    client.settimeout(0.1)
    with contextlib.suppress(TimeoutError):
        while piece := client.recv(_PIECE):
            if server is not None:
                server.sendall(piece)
    client.sendall(forged)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def refusal(status: int, text: str = "", headers: str = "") -> bytes:
    """An HTTP answer of ``status``; ``headers`` are lines that end with CRLF."""
    body = text.encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


def text_frame(text: bytes) -> bytes:
    """A websocket's text frame, as a server sends it."""
    return _frame(1, text)


def binary_frame(content: bytes) -> bytes:
    """A websocket's binary frame, as a server sends it."""
    return _frame(2, content)


def _frame(code: int, content: bytes) -> bytes:
    length = bytes([len(content)]) if len(content) < 126 else bytes([126]) + len(content).to_bytes(2, "big")
    return bytes([0x80 | code]) + length + content
