"""Keeps the pictures that a job's nodes send to the server's page, and makes files of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from worker.engine.graph_run import GraphRun
from worker.protocol.page_pictures import PagePicture, make_files, read_frame
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
        made = make_files(self._run.workspace.output, self._sent, outputs, self._class_of, self._ask)
        if not outcomes or not (made.entries or made.lines):
            return list(outcomes)
        last = outcomes[-1]
        return [*outcomes[:-1], replace(last, sent=made.entries, warnings=(*last.warnings, *made.lines))]

    def _class_of(self, node_id: str) -> str:
        return str(self._run.workflow.get(node_id, {}).get("class_type", ""))

    def _ask(self, _: str, entry: Mapping[str, Any]) -> bytes | None:
        return picture_of_route(self._api, entry)


def picture_of_route(api: ComfyApi, entry: Mapping[str, Any]) -> bytes | None:
    """The picture that a pack's route gives for ``entry``, ``{"source": "http", "id": …}``; None if there is none."""
    try:
        return api.content(_ROUTE + quote(str(entry["id"]), safe=""))
    except (ServerUnreachable, ServerRefused, KeyError):
        return None
