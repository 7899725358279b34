"""The routes of a ComfyUI server that a job needs, over connections that stay open."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

_CONNECT_S, _READ_S = 5.0, 20.0  # The second also where a node keeps the server's Python busy.
_VALIDATION_S = 120.0
_CONNECTIONS = 4
_TIMES = 3
_SLOWEST_BYTES_PER_S = 1000
_SHOWN_LENGTH = 200
_PIECE = 1024 * 1024


class ServerUnreachable(Exception):
    """No answer: the connection is refused, cut, or silent for too long. ``is_silent``: the last of these."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(type(reason).__name__)
        self.is_silent = isinstance(reason, ReadTimeoutError)


@dataclass
class ServerRefused(Exception):
    """An answer with a status that is none of those expected. ``body``: its text."""

    status: int
    body: str
    what: str

    def __str__(self) -> str:
        text = " ".join(self.body.split())[:_SHOWN_LENGTH]
        return f"ComfyUI answered {self.status} to {self.what}" + (f": {text}" if text else "")


@dataclass(frozen=True)
class Queued:
    """A prompt in a server's queue."""

    number: float
    prompt_id: str
    client_id: str | None


@dataclass(frozen=True)
class Queue:
    """A server's queue: what runs, and what waits, in the order in which it will run."""

    running: tuple[Queued, ...]
    pending: tuple[Queued, ...]

    def __contains__(self, prompt_id: object) -> bool:
        return any(queued.prompt_id == prompt_id for queued in (*self.running, *self.pending))

    def of_client(self, client_id: str) -> list[str]:
        """Ids of the prompts that were queued for a client."""
        return [queued.prompt_id for queued in (*self.running, *self.pending) if queued.client_id == client_id]


class ComfyApi:
    """The HTTP side of a ComfyUI server. Any thread.

    Args:
        address: ``host:port``, or ``http(s)://host:port``.

    Methods raise ServerUnreachable and ServerRefused, unless they say otherwise. What may be asked twice is asked up to
    three times.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        self.base = f"{parts.scheme}://{parts.netloc}"
        self._again = urllib3.Retry(
            _TIMES - 1,
            status_forcelist=(502, 503, 504),
            backoff_factor=0.2,
            raise_on_status=False,
            allowed_methods=None,
            respect_retry_after_header=False,  # It may say hours.
        )
        self._pool = urllib3.connection_from_url(self.base, maxsize=_CONNECTIONS)

    def close(self) -> None:
        """Close the connections that are open."""
        self._pool.close()

    def system_stats(self) -> dict[str, Any]:
        """Versions, devices and memory."""
        return self._get("/system_stats")

    def upload(self, path: Path, name: str, folder: str) -> str:
        """Put a file into ``folder`` of the server's input folder; the name by which nodes find it.

        One of this name and content that is there already is left as it is.
        """
        fields = {"image": (name, path.read_bytes()), "subfolder": folder, "type": "input"}
        response = self._request("POST", "/upload/image", fields=fields, again=True)
        answer = _json(_expect(response, "POST /upload"), "POST /upload")
        return "/".join(part for part in (str(answer.get("subfolder") or ""), str(answer.get("name") or name)) if part)

    def queue_prompt(self, body: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Post a graph to ``/prompt``, once: whether it was accepted, and the answer."""
        response = self._request("POST", "/prompt", body=body, read_s=_VALIDATION_S)
        answer = _json(_expect(response, "POST /prompt", 200, 400), "POST /prompt")
        return response.status == 200, answer

    def history(self, prompt_id: str, *, again: bool = True) -> dict[str, Any] | None:
        """What the server notes of a prompt that has ended; None of any other. ``again``: ask up to three times."""
        entry = self._get(f"/history/{quote(prompt_id, safe='')}", again=again).get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def forget(self, prompt_ids: Iterable[str]) -> None:
        """Remove prompts from the server's history."""
        self._post("/history", {"delete": list(prompt_ids)})

    def queue(self, *, again: bool = True) -> Queue:
        """What runs and what waits. ``again``: ask up to three times."""
        answer = self._get("/queue", again=again)
        pending = sorted(_queued(answer.get("queue_pending")), key=lambda queued: queued.number)
        return Queue(tuple(_queued(answer.get("queue_running"))), tuple(pending))

    def stop(self, prompt_id: str) -> None:
        """Interrupt a prompt where it runs, drop it where it waits; no other one.

        Versions that cannot tell prompts apart interrupt whatever runs, so they are only asked to while it is this one.
        """
        queue = self.queue(again=False)
        if any(queued.prompt_id == prompt_id for queued in queue.pending):
            self._post("/queue", {"delete": [prompt_id]})
            queue = self.queue(again=False)  # It may have begun meanwhile.
        if any(queued.prompt_id == prompt_id for queued in queue.running):
            self._post("/interrupt", {"prompt_id": prompt_id})

    def fetch(self, entry: Mapping[str, Any], target: Path) -> bool:
        """Write a file that a node has named to ``target``; False where the server does not have it.

        Raises:
            OSError: it cannot be written here.
        """
        query = {"filename": entry["filename"], "subfolder": entry.get("subfolder") or "", "type": _kind(entry)}
        path = f"/view?{urlencode(query, errors='surrogatepass')}"
        for left in reversed(range(_TIMES)):
            response = self._request("GET", path, again=True, stream=True)
            try:
                if response.status in (400, 403, 404):
                    return False
                if response.status != 200:
                    raise ServerRefused(response.status, "", "GET /view")
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    _copy(response, file)
                return True
            except HTTPError as error:  # Cut in the middle.
                if not left:
                    raise ServerUnreachable(error) from None
            finally:
                response.release_conn()
        return False

    def has_node_class(self, class_type: str) -> bool:
        """Whether a node class is installed."""
        return class_type in self._get(f"/object_info/{quote(class_type, safe='')}")

    def model_files(self, folder: str) -> list[str]:
        """Names of the model files in ``folder``, as workflows name them; none where the server does not tell."""
        try:
            response = self._request("GET", f"/models/{quote(folder)}", again=True)
            names = json.loads(_expect(response, "GET /models").data)
        except (ValueError, RecursionError, ServerRefused, ServerUnreachable):
            names = []
        return [str(name) for name in names] if isinstance(names, list) else []

    def _get(self, path: str, *, again: bool = True) -> dict[str, Any]:
        what = f"GET /{path.split('/')[1]}"
        return _json(_expect(self._request("GET", path, again=again), what), what)

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        _expect(self._request("POST", path, body=body, again=True), f"POST {path}")

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
        again: bool = False,
        stream: bool = False,
        read_s: float = _READ_S,
    ) -> urllib3.BaseHTTPResponse:
        content: dict[str, Any] = {}
        if body is not None:
            # A lone surrogate stays an escape, which the server's Python reads as it was meant.
            content = {"body": json.dumps(body).encode(), "headers": {"Content-Type": "application/json"}}
        if fields is not None:
            encoded, content_type = urllib3.encode_multipart_formdata(dict(fields))
            # A file is sent in pieces, each with a time-out of its own.
            headers = {"Content-Type": content_type, "Content-Length": str(len(encoded))}
            content = {"body": io.BytesIO(encoded), "headers": headers}
        try:
            return self._pool.urlopen(
                method,
                path,
                retries=self._again if again else False,
                redirect=False,
                preload_content=not stream,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_s),
                **content,
            )
        except (HTTPError, OSError) as error:
            raise ServerUnreachable(error) from None


def _expect(response: urllib3.BaseHTTPResponse, what: str, *statuses: int) -> urllib3.BaseHTTPResponse:
    if response.status not in (statuses or (200,)):
        raise ServerRefused(response.status, response.data.decode("utf-8", "replace"), what)
    return response


def _queued(items: object) -> list[Queued]:
    """Of a list as ``/queue`` has it: ``[number, prompt id, graph, extra data, …]`` each."""
    found = []
    for item in items if isinstance(items, list) else []:
        if isinstance(item, list) and len(item) > 3 and isinstance(item[0], int | float):
            client_id = item[3].get("client_id") if isinstance(item[3], dict) else None
            found.append(Queued(item[0], str(item[1]), client_id))
    return found


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry.get("type") or "output")


def _copy(response: urllib3.BaseHTTPResponse, file: BinaryIO) -> None:
    """Write what comes. One that drips so slowly that it will never be done is given up."""
    start, received = time.monotonic(), 0
    while piece := response.read1(_PIECE):
        file.write(piece)
        received += len(piece)
        seconds = time.monotonic() - start
        if seconds > _READ_S and received / seconds < _SLOWEST_BYTES_PER_S:
            raise HTTPError("too slow")


def _json(response: urllib3.BaseHTTPResponse, what: str) -> dict[str, Any]:
    try:
        answer = json.loads(response.data)
    except (ValueError, RecursionError):
        raise ServerRefused(response.status, "what it sent is no JSON", what) from None
    if not isinstance(answer, dict):
        raise ServerRefused(response.status, "what it sent is no object", what)
    return answer
