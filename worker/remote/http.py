"""Sends HTTP requests to a ComfyUI server, over connections that stay open."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

_CONNECT_S, _READ_S = 5.0, 20.0  # A node that keeps the server's Python busy delays an answer by seconds.
_CONNECTIONS = 4
_ATTEMPTS = 3
_SLOWEST_BYTES_PER_S = 1000
_SHOWN_LENGTH = 200
_PIECE = 1024 * 1024


class ServerUnreachable(Exception):
    """No answer came: the connection was refused or cut, or the server was silent for too long.

    ``is_silent``: whether the server was silent. Then it may still be working on the request.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(type(reason).__name__)
        self.is_silent = isinstance(reason, ReadTimeoutError)


@dataclass
class ServerRefused(Exception):
    """The server's answer cannot be used. ``body``: its text; ``what``: the request, such as ``POST /prompt``."""

    status: int
    body: str
    what: str

    def __str__(self) -> str:
        text = " ".join(self.body.split())[:_SHOWN_LENGTH]
        return f"ComfyUI answered {self.status} to {self.what}" + (f": {text}" if text else "")


class HttpClient:
    """A client of one server. Any thread may use it.

    Args:
        address: ``host:port``, or ``http(s)://host:port``.

    Methods raise ServerUnreachable and ServerRefused.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        self.base = f"{parts.scheme}://{parts.netloc}"
        self._retry = urllib3.Retry(
            _ATTEMPTS - 1,
            status_forcelist=(502, 503, 504),
            backoff_factor=0.2,
            raise_on_status=False,
            allowed_methods=None,
            respect_retry_after_header=False,  # This header may ask for a wait of hours.
        )
        self._pool = urllib3.connection_from_url(self.base, maxsize=_CONNECTIONS)

    def close(self) -> None:
        """Close the connections that are open."""
        self._pool.close()

    def get(self, path: str, *, retry: bool = True) -> dict[str, Any]:
        """The JSON object at ``path``."""
        return read_object(self.request("GET", path, retry=retry), _name("GET", path))

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Post a JSON object, up to three times. The content of the answer does not matter."""
        self.request("POST", path, body=body, retry=True)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
        retry: bool = False,
        read_s: float = _READ_S,
        statuses: Collection[int] = (200,),
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and read its answer.

        Args:
            method: ``GET`` or ``POST``.
            path: the path, with its query if it has one.
            body: sent as JSON.
            fields: sent as a form, with files.
            retry: whether to send the request up to three times.
            read_s: how many seconds the server may be silent.
            statuses: the expected statuses; for others, ServerRefused is raised.
        """
        response = self._send(method, path, _content(body, fields), retry=retry, read_s=read_s)
        if response.status not in statuses:
            raise ServerRefused(response.status, response.data.decode("utf-8", "replace"), _name(method, path))
        return response

    def download(self, path: str, target: Path) -> None:
        """Write the content at ``path`` to ``target``, if the server has it.

        Raises:
            OSError: the file cannot be written.
        """
        for left in reversed(range(_ATTEMPTS)):
            response = self._send("GET", path, {}, retry=True, stream=True)
            try:
                if response.status in (400, 403, 404):
                    return
                if response.status != 200:
                    raise ServerRefused(response.status, "", _name("GET", path))
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    _copy(response, file)
                return
            except HTTPError as error:  # The connection was cut before the end.
                if not left:
                    raise ServerUnreachable(error) from None
            finally:
                response.release_conn()

    def _send(
        self,
        method: str,
        path: str,
        content: Mapping[str, Any],
        *,
        retry: bool,
        stream: bool = False,
        read_s: float = _READ_S,
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.urlopen(
                method,
                path,
                retries=self._retry if retry else False,
                redirect=False,
                preload_content=not stream,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_s),
                **content,
            )
        except (HTTPError, OSError) as error:
            raise ServerUnreachable(error) from None


def read_object(response: urllib3.BaseHTTPResponse, what: str) -> dict[str, Any]:
    """The JSON object in the answer to the request ``what``.

    Raises:
        ServerRefused: the answer is no JSON object.
    """
    try:
        answer = json.loads(response.data)
    except (ValueError, RecursionError):
        raise ServerRefused(response.status, "what it sent is no JSON", what) from None
    if not isinstance(answer, dict):
        raise ServerRefused(response.status, "what it sent is no object", what)
    return answer


def _content(body: Mapping[str, Any] | None, fields: Mapping[str, Any] | None) -> dict[str, Any]:
    """The body and headers of a request, as arguments of ``urlopen``."""
    if body is not None:
        # json.dumps writes a lone surrogate as an escape, which the server's Python reads back.
        return {"body": json.dumps(body).encode(), "headers": {"Content-Type": "application/json"}}
    if fields is not None:
        encoded, content_type = urllib3.encode_multipart_formdata(dict(fields))
        headers = {"Content-Type": content_type, "Content-Length": str(len(encoded))}
        # A stream is sent in pieces, so the time-out counts for each piece.
        return {"body": io.BytesIO(encoded), "headers": headers}
    return {}


def _name(method: str, path: str) -> str:
    """The request as messages name it: ``GET /view``."""
    return f"{method} /{path.partition('?')[0].split('/')[1]}"


def _copy(response: urllib3.BaseHTTPResponse, file: BinaryIO) -> None:
    """Write the body of ``response`` to ``file``.

    Raises:
        HTTPError: the body comes too slowly.
    """
    start, received = time.monotonic(), 0
    while piece := response.read1(_PIECE):
        file.write(piece)
        received += len(piece)
        seconds = time.monotonic() - start
        if seconds > _READ_S and received / seconds < _SLOWEST_BYTES_PER_S:
            raise HTTPError("too slow")
