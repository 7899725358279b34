"""Receives a ComfyUI server's events over a websocket."""

from __future__ import annotations

import io
import json
import logging
import select
import struct
import uuid
from dataclasses import dataclass
from typing import Any

import websocket
from PIL import Image

from worker.events import Event, Message, Preview

_CONNECT_S = 10.0
_PREVIEW, _TEXT, _PREVIEW_WITH_METADATA = 1, 3, 4  # ComfyUI's ``protocol.BinaryEventTypes``.
_log = logging.getLogger("worker")
_trace_log = logging.getLogger("worker.websocket")


class SocketClosed(Exception):
    """The connection could not be made, or was lost."""


@dataclass(frozen=True)
class Binary:
    """A binary frame. ``kind``: the number of its event; ``payload``: the bytes after that number."""

    kind: int
    payload: bytes

    def prompt_id(self) -> str | None:
        """The prompt that it says to be about; None if it does not say so."""
        try:
            found = self._metadata()[0].get("prompt_id") if self.kind == _PREVIEW_WITH_METADATA else None
        except (struct.error, ValueError, AttributeError, RecursionError):
            return None
        return found if isinstance(found, str) else None

    def _metadata(self) -> tuple[Any, int]:
        """What the frame says about its picture, and where the picture begins."""
        (length,) = struct.unpack_from(">I", self.payload)
        return json.loads(self.payload[4 : 4 + length]), 4 + length

    def event(self) -> Event:
        """The frame as an event: a preview, or a message of a node."""
        try:
            if self.kind == _PREVIEW_WITH_METADATA:
                metadata, begin = self._metadata()
                return Preview(metadata.get("node_id"), _picture(self.payload[begin:]))
            if self.kind == _PREVIEW:
                return Preview(None, _picture(self.payload[4:]))
        except Exception:  # noqa: BLE001 - Pillow raises many kinds, and a bad preview must not end the job.
            _log.warning("ComfyUI sent a preview that cannot be read (%d bytes)", len(self.payload))
        return Message("TEXT" if self.kind == _TEXT else str(self.kind), self.payload)


@dataclass(frozen=True)
class Text:
    """A text frame: the event's name and its payload."""

    name: str
    data: Any


Frame = Text | Binary


class EventSocket:
    """The connection of one client, for one thread. It keeps its client id when it connects again, until ``renew``.

    Args:
        base: the server's address, with ``http`` or ``https``.
    """

    def __init__(self, base: str) -> None:
        self._url = f"ws{base.removeprefix('http')}/ws?clientId="
        self._socket: websocket.WebSocket | None = None
        self.client_id = uuid.uuid4().hex

    def renew(self) -> None:
        """Close, and use a new client id from the next ``open`` on. It gets no events of the old client's prompts."""
        self.close()
        self.client_id = uuid.uuid4().hex

    def open(self) -> None:
        """Connect.

        Raises:
            SocketClosed: no connection could be made.
        """
        self.close()
        opened = websocket.WebSocket()
        try:
            opened.connect(  # type: ignore[no-untyped-call]
                self._url + self.client_id,
                timeout=_CONNECT_S,
                suppress_origin=True,
                http_no_proxy=["*"],  # Use no proxy. ``HttpClient`` does not use one either.
            )
            # Ask for previews with the id of their node, as ComfyUI's own page does.
            opened.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        except (websocket.WebSocketException, OSError, ValueError) as error:
            _close(opened)
            raise SocketClosed(_reason(error)) from None
        self._socket = opened

    def receive(self, timeout_s: float) -> Frame | None:
        """The next frame. None if no frame came in time, or if it is no message of ComfyUI.

        Raises:
            SocketClosed: the connection was lost.
        """
        if self._socket is None:
            raise SocketClosed("it is not open")
        self._socket.settimeout(timeout_s)
        try:
            code, content = self._socket.recv_data()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError, ValueError) as error:
            self.close()
            raise SocketClosed(_reason(error)) from None
        if code == websocket.ABNF.OPCODE_CLOSE:
            self.close()
            raise SocketClosed("the server closed it")
        return _text(content) if code == websocket.ABNF.OPCODE_TEXT else _binary(content)

    def drain(self) -> None:
        """Discard the frames that came while no job listened.

        Raises:
            SocketClosed: the connection was lost meanwhile.
        """
        while self._is_readable():
            self.receive(_CONNECT_S)

    def _is_readable(self) -> bool:
        if self._socket is None or self._socket.sock is None:
            raise SocketClosed("it is not open")
        poll = select.poll()
        poll.register(self._socket.sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._socket is not None:
            _close(self._socket)
            self._socket = None


def _close(opened: websocket.WebSocket) -> None:
    opened.shutdown()  # type: ignore[no-untyped-call]


def _reason(error: Exception) -> str:
    if isinstance(error, websocket.WebSocketBadStatusException):
        return f"HTTP {error.status_code}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _text(content: bytes) -> Text | None:
    try:
        message = json.loads(content)
        return Text(str(message["type"]), message.get("data"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        _log.warning("ComfyUI sent a frame that is none of its messages: %.80r", content)
        return None


def _binary(content: bytes) -> Binary | None:
    if len(content) < 4:
        return None
    return Binary(int.from_bytes(content[:4], "big"), bytes(content[4:]))


def _picture(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


class _ToOurLog(logging.Handler):
    """Passes the library's log lines to the worker's logger, which masks secrets and has a level of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        _trace_log.info("%s", record.getMessage())


def trace_frames() -> None:
    """Log every frame of every websocket of this process from now on."""
    _trace_log.setLevel(logging.INFO)
    if not logging.getLogger().handlers:
        _trace_log.addHandler(logging.StreamHandler())
    websocket.enableTrace(True, handler=_ToOurLog(), level="DEBUG")
    logging.getLogger("websocket").propagate = False
