"""Bounds what one connection to the local API may take: bytes of headers, time, and how many there are.

uvicorn's own options are not enough. With httptools it takes headers of any size. ``timeout_keep_alive`` begins after
the first answer. ``limit_concurrency`` counts when a request is complete, and closes no connection.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from http import HTTPStatus
from typing import Any, Literal

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEADER_BYTES = 64 * 1024
MAX_CONNECTIONS = 800  # A caller that waits for its job has one, and 500 jobs may wait. Linux allows 1,024 open files.
_LINGER_S = 1.0  # For a client that still sends: the system drops an answer if unread bytes remain at the close.

_Awaited = Literal["headers", "body"] | None


class BoundedConnection(H11Protocol):
    """One connection. h11 refuses headers of more than ``MAX_HEADER_BYTES``; the rest is here.

    A caller that waits for its job has sent its request, so no limit of time applies to it.
    """

    headers_s = 15.0  # From the connection, or the first byte of a further request, to the end of the headers.
    body_s = 60.0  # In each such time a body must bring ``body_bytes``: links that are slower are of no use.
    body_bytes = 60_000
    max_connections = MAX_CONNECTIONS

    _awaited: _Awaited = None
    _timer: asyncio.TimerHandle | None = None
    _received = 0  # Bytes since the timer was set.
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio does this only for sockets that name their protocol. Without it, an answer waits 40 ms for the client.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.max_connections:
            self._refuse(503, f"The local API has {self.max_connections} connections open: try again later")
        else:
            self._await("headers")

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._received += len(data)
        super().data_received(data)
        match self.conn.their_state:
            case _ if self._is_refused:
                pass
            case h11.IDLE if self.conn.trailing_data[0]:
                self._await("headers")
            case h11.SEND_BODY:
                self._await("body")
            case _:
                self._await(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._await(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answer what h11 does not accept. uvicorn calls this while it handles h11's error."""
        error = sys.exception()
        is_body = self.cycle is not None and not self.cycle.response_complete
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431 and not is_body:
            self._refuse(431, f"The request's headers are too large: send at most {MAX_HEADER_BYTES} bytes of them")
        else:
            self._refuse(400, f"This is no valid HTTP request: {error}")

    def _await(self, awaited: _Awaited) -> None:
        if awaited != self._awaited:
            self._awaited = awaited
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._received = None, 0
        if self._awaited is not None:
            seconds = self.headers_s if self._awaited == "headers" else self.body_s
            self._timer = self.loop.call_later(seconds, self._on_time)

    def _on_time(self) -> None:
        if self._awaited == "headers":
            self._refuse(408, f"The request's headers did not arrive within {self.headers_s:g} s")
        elif self.flow.read_paused or self._received >= self.body_bytes:  # Paused: it is the server that is slow.
            self._set_timer()
        else:
            text = (
                f"The request's body is too slow: at least {self.body_bytes} bytes must arrive every {self.body_s:g} s"
            )
            self._refuse(408, text)

    def _refuse(self, status: int, text: str) -> None:
        """Answer if no answer has begun, and end the connection."""
        self._await(None)
        self._unset_keepalive_if_required()
        self._is_refused = True
        self.connections.discard(self)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            self.transport.write(_answer(status, text))
            self.transport.write_eof()
            self.flow.resume_reading()
            self.loop.call_later(_LINGER_S, self.transport.abort)
        else:
            self.transport.abort()


class ReadsToTheEnd:
    """Ends no answer before its request is read. What comes after an early answer, such as a refusal, is dropped.

    Many clients send their whole request before they look for the answer. If the connection were closed meanwhile, the
    system would throw the answer away. ``BoundedConnection`` ends clients that are too slow.
    """

    most_bytes = 1_000_000_000

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Such a client sends nothing more if it is refused.
        is_read = any(name == b"expect" for name, _ in scope["headers"])

        async def receive_on() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def send_on(message: Message) -> None:
            if is_read or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            await send({**message, "more_body": True})
            dropped = 0
            while not is_read and dropped < self.most_bytes:
                dropped += len((await receive_on()).get("body", b""))
            await send({"type": "http.response.body", "body": b""})

        await self._app(scope, receive_on, send_on)


def bounds() -> dict[str, Any]:
    """The arguments of uvicorn's Config. There are no WebSockets here, which would leave the bounds."""
    return {"http": BoundedConnection, "ws": "none", "h11_max_incomplete_event_size": MAX_HEADER_BYTES}


def _answer(status: int, text: str) -> bytes:
    body = json.dumps({"error": text}).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
