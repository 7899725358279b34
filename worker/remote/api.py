"""Calls the HTTP routes of a ComfyUI server that a job needs."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from worker.convert.node.definitions import Definitions
from worker.errors import BackendFailed
from worker.protocol.missing_classes import why_not_there
from worker.remote.http import HttpClient, ServerRefused, ServerUnreachable, read_object

_VALIDATION_S = 120.0


@dataclass(frozen=True)
class Queued:
    """A prompt in a server's queue. ``number``: its place; lower ones run first."""

    number: float
    prompt_id: str
    client_id: str | None


@dataclass(frozen=True)
class Queue:
    """A server's queue: the prompts that run, and those that wait, in the order of their turns."""

    running: tuple[Queued, ...]
    pending: tuple[Queued, ...]

    def __contains__(self, prompt_id: object) -> bool:
        return any(queued.prompt_id == prompt_id for queued in (*self.running, *self.pending))

    def of_client(self, client_id: str) -> list[str]:
        """Ids of the prompts that a client has queued."""
        return [queued.prompt_id for queued in (*self.running, *self.pending) if queued.client_id == client_id]


class ComfyApi:
    """The HTTP API of a ComfyUI server. Any thread may use it.

    Args:
        address: ``host:port``, or ``http(s)://host:port``.

    Methods raise ServerUnreachable and ServerRefused, unless they say otherwise. A request that may be repeated is sent
    up to three times; ``retry=False`` sends it once.
    """

    def __init__(self, address: str) -> None:
        self._http = HttpClient(address)
        self.base = self._http.base
        self._output_classes: dict[str, bool] = {}

    def close(self) -> None:
        """Close the connections that are open."""
        self._http.close()

    def system_stats(self) -> dict[str, Any]:
        """Versions, devices and memory."""
        return self._http.get("/system_stats")

    def upload(self, path: Path, name: str, folder: str) -> str:
        """Put a file into ``folder`` below the server's input folder. Returns the file's name for nodes.

        If the server already has a file with this name and content, it keeps that file.
        """
        fields = {"image": (name, path.read_bytes()), "subfolder": folder, "type": "input"}
        answer = read_object(self._http.request("POST", "/upload/image", fields=fields, retry=True), "POST /upload")
        return "/".join(part for part in (str(answer.get("subfolder") or ""), str(answer.get("name") or name)) if part)

    def queue_prompt(self, body: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Post a graph to ``/prompt``, once. Returns whether it was accepted, and the answer."""
        response = self._http.request("POST", "/prompt", body=body, read_s=_VALIDATION_S, statuses=(200, 400))
        return response.status == 200, read_object(response, "POST /prompt")

    def history(self, prompt_id: str, *, retry: bool = True) -> dict[str, Any] | None:
        """The entry of a prompt in the server's history. None if the prompt has not ended, or is not known."""
        entry = self._http.get(f"/history/{quote(prompt_id, safe='')}", retry=retry).get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def forget(self, prompt_ids: Iterable[str]) -> None:
        """Remove prompts from the server's history."""
        self._http.post("/history", {"delete": list(prompt_ids)})

    def queue(self, *, retry: bool = True) -> Queue:
        """The prompts that run and that wait."""
        answer = self._http.get("/queue", retry=retry)
        pending = sorted(_queued(answer.get("queue_pending")), key=lambda queued: queued.number)
        return Queue(tuple(_queued(answer.get("queue_running"))), tuple(pending))

    def stop(self, prompt_id: str) -> None:
        """Interrupt a prompt if it runs, or remove it from the queue if it waits. No other prompt is stopped.

        Older versions of ComfyUI ignore the id, and interrupt any prompt that runs. So the interrupt is sent only while
        this prompt runs.
        """
        queue = self.queue(retry=False)
        if any(queued.prompt_id == prompt_id for queued in queue.pending):
            self._http.post("/queue", {"delete": [prompt_id]})
            queue = self.queue(retry=False)  # The prompt may have begun meanwhile.
        if any(queued.prompt_id == prompt_id for queued in queue.running):
            self._http.post("/interrupt", {"prompt_id": prompt_id})

    def fetch(self, entry: Mapping[str, Any], target: Path) -> None:
        """Write the file that a node has named in ``entry`` to ``target``, if the server has it.

        Raises:
            OSError: the file cannot be written.
        """
        query = {
            "filename": entry["filename"],
            "subfolder": entry.get("subfolder") or "",
            "type": str(entry.get("type") or "output"),
        }
        self._http.download(f"/view?{urlencode(query, errors='surrogatepass')}", target)

    def is_inside(self, kind: str, folder: str) -> bool:
        """Whether ``folder``, an absolute path, is the server's folder of ``kind`` or in it. It need not exist."""
        query = urlencode({"filename": "-", "type": kind, "subfolder": folder}, errors="surrogatepass")
        return self._http.request("GET", f"/view?{query}", retry=True, statuses=(200, 403, 404)).status != 403

    def content(self, path: str) -> bytes:
        """The content at ``path``."""
        return bytes(self._http.request("GET", path, retry=True).data)

    def about_class(self, class_type: str) -> Mapping[str, Any] | None:
        """What ``/object_info`` tells about a node class. None if it is not installed; empty if it does not tell."""
        try:
            found = self._http.get(f"/object_info/{quote(class_type, safe='')}")
        except (ServerRefused, ServerUnreachable):  # For example, the class is installed and its INPUT_TYPES raises.
            return {}
        about = found.get(class_type)
        return about if isinstance(about, dict) else {} if class_type in found else None

    def is_output(self, class_type: str) -> bool:
        """Whether a node class saves or shows something; False if the server does not tell. Raises nothing."""
        if class_type not in self._output_classes:
            about = self.about_class(class_type)
            if not about:
                return False
            self._output_classes[class_type] = bool(about.get("output_node"))
        return self._output_classes[class_type]

    def definitions(self) -> Definitions:
        """The definitions of node classes, for the conversion of a workflow. Asking for one may raise BackendFailed."""
        classes = ServerClasses(self)
        return Definitions(self._told_about_class, lambda class_type: why_not_there(class_type, classes))

    def _told_about_class(self, class_type: str) -> Mapping[str, Any] | None:
        about = self.about_class(class_type)
        if about == {}:
            raise BackendFailed(f"The ComfyUI server does not say what the node class {class_type!r} takes")
        return about

    def model_folders(self) -> list[str]:
        """The paths of all model folders, on the server's machine. Empty if the request fails."""
        try:
            kinds = self._http.get("/internal/folder_paths").values()
        except (ServerRefused, ServerUnreachable):
            return []
        return [path for paths in kinds if isinstance(paths, list) for path in paths if isinstance(path, str)]

    def model_files(self, folder: str) -> list[str]:
        """Names of the model files in ``folder``, as workflows name them. Empty if the request fails."""
        try:
            names = json.loads(self._http.request("GET", f"/models/{quote(folder)}", retry=True).data)
        except (ValueError, RecursionError, ServerRefused, ServerUnreachable):
            names = []
        return [str(name) for name in names] if isinstance(names, list) else []

    def preview_method(self) -> str:
        """The method of previews for a prompt: that of the server's ``--preview-method``, or else one that works there.

        ComfyUI 0.3.75 takes no notice of what a prompt asks for.
        """
        system = self.system_stats().get("system")
        flags = system.get("argv") if isinstance(system, dict) else None
        if isinstance(flags, list) and any(str(flag).startswith("--preview-method") for flag in flags):
            return "default"
        return "taesd" if self.model_files("vae_approx") else "latent2rgb"


class ServerClasses:
    """What a server tells about its node classes: ``Installed``. It asks once for a class, so make one for each job."""

    def __init__(self, api: ComfyApi) -> None:
        self._about = functools.cache(api.about_class)
        self.model_files = api.model_files
        self.is_output = api.is_output

    def has_node_class(self, class_type: str) -> bool:
        return self._about(class_type) is not None

    def inputs_of(self, class_type: str) -> Mapping[str, Any]:
        inputs = (self._about(class_type) or {}).get("input")
        return inputs if isinstance(inputs, dict) else {}

    def outputs_of(self, class_type: str) -> list[str] | None:
        kinds = (self._about(class_type) or {}).get("output")
        if not isinstance(kinds, list):
            return None
        return ["COMBO" if isinstance(kind, list) else str(kind) for kind in kinds]

    def why_missing(self, class_type: str) -> str | None:  # noqa: ARG002
        return None  # A server says only in its log why a pack failed.

    def listed_packs(self, class_type: str) -> str | None:  # noqa: ARG002
        return None  # Its packs lie on another machine.


def errors_by_node(node_errors: object) -> dict[str, Any]:
    """The ``node_errors`` of an answer to ``/prompt``, without what has another shape."""
    given = node_errors if isinstance(node_errors, dict) else {}
    return {node_id: entry for node_id, entry in given.items() if isinstance(entry, dict)}


def _queued(items: object) -> list[Queued]:
    """The prompts of a list in ``/queue``'s answer. Each item is ``[number, prompt id, graph, extra data, …]``."""
    found = []
    for item in items if isinstance(items, list) else []:
        if isinstance(item, list) and len(item) > 3 and isinstance(item[0], int | float):
            client_id = item[3].get("client_id") if isinstance(item[3], dict) else None
            found.append(Queued(item[0], str(item[1]), client_id))
    return found
