"""Keeps the pictures that a job's nodes send to the server's page, and makes files of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from worker.engine.graph_run import GraphRun
from worker.protocol.page_pictures import PagePicture, claimed, missing_line, read_frame, sources, write_pictures
from worker.protocol.prompt_outcome import PromptOutcome
from worker.remote.api import ComfyApi
from worker.remote.http import ServerRefused, ServerUnreachable
from worker.remote.socket import Binary, Frame

# Which routes a pack has is not known here. This is the one of ComfyUI-tooling-nodes, by its documentation.
_ROUTE = "/api/etn/image/"


class PageFrames:
    """Listens to a job's frames.

    Args:
        api: the server's HTTP API.
        run: the job's run.
    """

    def __init__(self, api: ComfyApi, run: GraphRun) -> None:
        self._api, self._run = api, run
        self._current = ""
        self._sent: dict[str, list[PagePicture]] = {}

    def hear(self, frame: Frame) -> None:
        """Take a frame. Pictures count only if an output node sends them; samplers' previews are of other nodes."""
        if isinstance(frame, Binary):
            picture = read_frame(frame.kind, frame.payload)
            node_id = (picture and picture.node_id) or self._current
            if picture is not None and self._api.is_output(self._class_of(node_id)):
                self._sent.setdefault(node_id, []).append(picture)
        elif frame.name == "executing" and isinstance(frame.data, Mapping) and isinstance(frame.data.get("node"), str):
            self._current = frame.data["node"]

    def deliver(self, outcomes: Sequence[PromptOutcome]) -> list[PromptOutcome]:
        """``outcomes``, with the entries of the pictures, which are then files of the job."""
        outputs = {node_id: output for outcome in outcomes for node_id, output in outcome.outputs.items()}
        sent: dict[str, Sequence[Mapping[str, Any]]] = {}
        lines: list[str] = []
        for node_id in dict.fromkeys([*self._sent, *outputs]):
            output = outputs.get(node_id)
            pictures = [picture.data for picture in claimed(output, self._sent.get(node_id, ()))]
            missing = len(sources(output, "websocket")) - len(pictures)
            asked = [self._asked(entry) for entry in sources(output, "http")]
            pictures += [data for data in asked if data is not None]
            missing = max(0, missing) + asked.count(None)
            if missing:
                lines.append(missing_line(node_id, missing))
            if pictures:
                class_type, output_folder = self._class_of(node_id), self._run.workspace.output
                sent[node_id] = write_pictures(output_folder, node_id, class_type, pictures, lines)
        if not outcomes or not (sent or lines):
            return list(outcomes)
        last = outcomes[-1]
        return [*outcomes[:-1], replace(last, sent=sent, warnings=(*last.warnings, *lines))]

    def _class_of(self, node_id: str) -> str:
        return str(self._run.workflow.get(node_id, {}).get("class_type", ""))

    def _asked(self, entry: Mapping[str, Any]) -> bytes | None:
        try:
            return self._api.content(_ROUTE + quote(str(entry["id"]), safe=""))
        except (ServerUnreachable, ServerRefused, KeyError):
            return None
