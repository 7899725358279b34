"""The stock server's side: what ComfyUI's own ``main.py`` makes of a workflow that its API gets."""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
from comfy_server import ComfyServer

from compare.observed import (
    ENDED,
    FAILED,
    LATE,
    REFUSED,
    SAME_ORDER,
    START_S,
    SUCCESS,
    Pack,
    Ran,
    Seen,
    names_of,
    plain,
    texts_of,
)
from compare.options import Case
from worker.convert.api_graph import convert
from worker.errors import WorkerError
from worker.job.files.staging import InputLimits, stage
from worker.job.prefixes import expand_prefixes
from worker.protocol.page_pictures import sources
from worker.protocol.prompt_outcome import file_entries
from worker.remote.api import ComfyApi
from worker.remote.http import ServerRefused, ServerUnreachable
from worker.remote.page_frames import picture_of_route
from worker.remote.socket import Binary, EventSocket, SocketClosed
from worker.workflows.changes import changed

# Newer versions of ComfyUI begin a line with its level, in colours.
_IMPORTED = re.compile(r"(\d+\.\d+) seconds( \(IMPORT FAILED\))?: (/[^\n\x1b]+)")
_REASONS = (
    re.compile(r"Cannot import (?P<path>/.*?) module for custom nodes: (?P<text>[^\n\x1b]*)"),
    re.compile(r"(?P<text>(?:Error while calling )?comfy_entrypoint in (?P<path>/.*?)(?:: | is | did )[^\n\x1b]*)"),
    re.compile(r"(?P<text>Skip (?P<path>/.*?) module for custom nodes due to [^\n\x1b]*)"),
)
_ALL = InputLimits(10**12, 10**12, urls=True, any_kind=True)
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4  # ComfyUI's ``protocol.BinaryEventTypes``.


class ServerSide:
    """A stock server in a process of its own.

    Args:
        tree: the ComfyUI tree.
        base: its base directory.
        flags: further ones for ComfyUI.
        timeout_s: of each workflow.
        output_folders: folders that its output folder has before each workflow.
        log: where its log is copied to.
    """

    def __init__(
        self,
        tree: Path,
        base: Path,
        flags: tuple[str, ...],
        timeout_s: float,
        output_folders: tuple[str, ...],
        log: Path,
    ) -> None:
        self._tree, self._base, self._flags, self._timeout_s = tree, base, flags, timeout_s
        self._folders, self._log = output_folders, log

    @contextlib.contextmanager
    def start(self) -> Iterator[Seen]:
        """Start it, and see its packs and classes. Raises RuntimeError if it does not start."""
        self._server = ComfyServer(self._base, self._flags, environment=SAME_ORDER, start_s=START_S)
        self._server.link_inputs()
        self._output, self._api = self._server.root / "output", ComfyApi(self._server.host)
        self._empty_output()
        self._hidden = names_of(self._server.root, self._base, self._tree)
        self._socket = EventSocket(self._api.base)
        try:
            self._server.start()
            self._server.wait()
            self._socket.open()
            classes = requests.get(f"{self._api.base}/object_info", timeout=120).json()
            yield Seen(self._packs(), plain(classes, self._hidden))
        finally:
            self._socket.close()
            self._api.close()
            if self._server.log.is_file():
                shutil.copyfile(self._server.log, self._log)
            self._server.close()

    def run(self, case: Case, folder: Path) -> Ran:
        """Run a workflow, and put its files into ``folder``."""
        try:
            return self._run(case, folder)
        except (ServerUnreachable, ServerRefused, SocketClosed, requests.ConnectionError):
            return Ran(ENDED, ("the server does not answer any more",))

    def _run(self, case: Case, folder: Path) -> Ran:
        job = case.job
        try:
            definitions = self._api.definitions()
            workflow, handles = (job.workflow, ()) if job.editor is None else convert(job.editor, definitions)
            workflow = changed(workflow, job.changes, definitions, handles)
        except WorkerError as error:
            return Ran(REFUSED, (str(error),))
        self._forget()
        stage(job.images, self._server.root / "input", _ALL)
        self._socket.drain()
        body = {
            "prompt": expand_prefixes(workflow, job.extra_pnginfo),
            "client_id": self._socket.client_id,
            "extra_data": {"extra_pnginfo": job.extra_pnginfo or {}, "api_key_comfy_org": job.api_key},
        }
        accepted, answer = self._api.queue_prompt(body)
        if not accepted:
            errors = answer.get("node_errors") or {}
            return Ran(REFUSED, (str((answer.get("error") or {}).get("message")),), tuple(sorted(errors)))
        sent: list[bytes] = []
        if not self._follow(sent):
            self._api.stop(str(answer["prompt_id"]))
            return Ran(LATE, (f"it took more than {self._timeout_s:.0f} s",))
        return self._ended(folder, sent)

    def _follow(self, sent: list[bytes]) -> bool:
        """Wait until the queue is empty, also of what nodes have queued. ``sent`` gets the pictures for the page."""
        give_up = time.monotonic() + self._timeout_s
        while time.monotonic() < give_up:
            # A node that runs for ever may send without end.
            while time.monotonic() < give_up and (frame := self._socket.receive(0.2)) is not None:
                if isinstance(frame, Binary) and (picture := _picture(frame)):
                    sent.append(picture)
            queue = self._api.queue()
            if not queue.running and not queue.pending:
                return True
        return False

    def _ended(self, folder: Path, sent: list[bytes]) -> Ran:
        history = requests.get(f"{self._api.base}/history", timeout=120).json()
        ran = Ran(SUCCESS)
        ui: dict[str, list[Any]] = {}
        seen_as: dict[str, str] = {}
        for entry in history.values():
            for node_id, shown in entry["outputs"].items():
                seen_as[node_id] = str(entry.get("meta", {}).get(node_id, {}).get("display_node", node_id))
                ui.setdefault(node_id, []).append(shown)
            for name, data in entry.get("status", {}).get("messages", ()):
                if name == "execution_error":
                    ran.outcome, ran.nodes = FAILED, (*ran.nodes, str(data.get("node_id")))
                    said = f"{data.get('exception_type')}: {data.get('exception_message')}".strip()
                    ran.lines = (*ran.lines, plain(said, self._hidden))
        ran.ui = {node_id: plain(shown, self._hidden) for node_id, shown in ui.items()}
        ran.texts = tuple((seen_as[node_id], text) for node_id, text in texts_of(ran.ui))
        named = (entry for dicts in ui.values() for shown in dicts for entry in sources(shown, "http"))
        sent += [picture for entry in named if (picture := picture_of_route(self._api, entry)) is not None]
        ran.files = self._files(ui, folder)
        ran.sent = tuple(_kept(picture, folder / f"sent-{number}") for number, picture in enumerate(sent, 1))
        return ran

    def _files(self, ui: Mapping[str, list[Mapping[str, Any]]], folder: Path) -> dict[str, Path]:
        """Everything in the output folder, and files of the input folder that nodes have named."""
        found = {str(path.relative_to(self._output)): path for path in self._output.rglob("*") if path.is_file()}
        for entry in (entry for dicts in ui.values() for shown in dicts for entry in file_entries(shown)):
            place = Path(str(entry.get("subfolder") or ""), str(entry["filename"]))
            if entry.get("type") == "input" and (path := self._server.root / "input" / place).is_file():
                found.setdefault(str(place), path)
        return {place: _copied(path, folder / place) for place, path in sorted(found.items())}

    def _forget(self) -> None:
        """Leave nothing of the last workflow: its files, its history, its results in ComfyUI's cache."""
        self._empty_output()
        requests.post(f"{self._api.base}/history", json={"clear": True}, timeout=60)
        requests.post(f"{self._api.base}/free", json={"free_memory": True}, timeout=60)
        time.sleep(0.3)  # The server does it when its queue's thread wakes up, and tells nobody.

    def _empty_output(self) -> None:
        shutil.rmtree(self._output, ignore_errors=True)
        for name in ("", *self._folders):
            (self._output / name).mkdir(parents=True, exist_ok=True)

    def _packs(self) -> dict[str, Pack]:
        log = self._server.log.read_text(encoding="utf-8", errors="replace")
        found = (match for reason in _REASONS for match in reason.finditer(log))
        reasons = {Path(match["path"]).name: match["text"] for match in found}
        packs = {}
        for seconds, failed, path in _IMPORTED.findall(log):
            name = Path(path.strip()).name
            error = plain(reasons.get(name, "it gave no reason"), self._hidden) if failed else None
            packs[name] = Pack(name, float(seconds), error)
        return packs


def _picture(frame: Binary) -> bytes | None:
    """The file of a picture in a frame."""
    if frame.kind == _PREVIEW:
        return frame.payload[4:]
    if frame.kind == _PREVIEW_WITH_METADATA:
        (length,) = struct.unpack_from(">I", frame.payload)
        return frame.payload[4 + length :]
    return None


def _kept(content: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _copied(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target
