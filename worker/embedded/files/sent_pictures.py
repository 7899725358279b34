"""Makes files of the pictures that a prompt's nodes send to ComfyUI's page, or give to it by a route."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from worker.embedded.node_classes import NodeClasses
from worker.embedded.pack_routes import PackRoutes, RouteFailed
from worker.protocol.page_pictures import PREVIEW_WITH_METADATA, PageFiles, PagePicture, make_files, read_frame
from worker.protocol.prompt_outcome import Outputs

_UNENCODED = 2  # ComfyUI's ``protocol.BinaryEventTypes``.
_NO_PICTURE = (AttributeError, LookupError, OSError, TypeError, ValueError)


class SentPictures:
    """The pictures of one prompt.

    Args:
        output: ComfyUI's output folder. The files come there, so that they are kept for ComfyUI's cache as others are.
        classes: ComfyUI's node classes.
        routes: the routes of ComfyUI's server.
    """

    def __init__(self, output: Path, classes: NodeClasses, routes: PackRoutes) -> None:
        self._output, self._classes, self._routes = output, classes, routes
        self.begin()

    def begin(self) -> None:
        """Begin a prompt."""
        self._sent: dict[str, list[PagePicture]] = {}
        self._class_of: dict[str, str] = {}
        self._current = ""

    def node_starts(self, node_id: str, class_type: str) -> None:
        """Note a node that begins."""
        self._current = node_id
        if self._classes.is_output(class_type):
            self._class_of[node_id] = class_type

    def hear(self, number: Any, data: Any) -> None:
        """Take a binary message. Previews of samplers, and other pictures of a limited size, are no results."""
        if not self._class_of:
            return
        context = importlib.import_module("comfy_execution.utils").get_executing_context()
        node_id = context.node_id if context is not None else self._current
        try:
            if number == PREVIEW_WITH_METADATA:
                node_id = data[1].get("node_id") or node_id
            if node_id not in self._class_of or _is_limited(number, data):
                return
            picture = read_frame(*_frame(number, data))
        except _NO_PICTURE:  # A node pack sent its own data under one of ComfyUI's numbers.
            return
        if picture is not None:
            self._sent.setdefault(node_id, []).append(picture)

    def end(self, outputs: Outputs, kept: Collection[str]) -> PageFiles:
        """End the prompt. Returns the files, which are written now.

        Args:
            outputs: the ui dict of each node that has one.
            kept: the nodes whose files are back, since ComfyUI serves the nodes from its cache.
        """
        sent = {node_id: pictures for node_id, pictures in self._sent.items() if node_id not in kept}
        shown = {node_id: output for node_id, output in outputs.items() if node_id not in kept}
        return make_files(self._output, sent, shown, self._class, self._ask)

    def _class(self, node_id: str) -> str:
        return self._class_of.get(node_id, "")

    def _ask(self, node_id: str, entry: Mapping[str, Any]) -> bytes | str:
        """The picture that a route of the node's pack gives, or a line that says why there is none."""
        try:
            return self._routes.get(self._classes.find(self._class(node_id)), entry)
        except RouteFailed as failed:
            return f"Node {node_id} named a picture that did not come: {failed}"


def _is_limited(number: Any, data: Any) -> bool:
    """Whether a picture is made smaller before it is sent, as previews are."""
    if number == PREVIEW_WITH_METADATA:
        return data[0][2] is not None
    return number == _UNENCODED and data[2] is not None


def _frame(number: Any, data: Any) -> tuple[int, bytes]:
    """The kind and the payload of the frame that a ComfyUI server sends, made by its own code."""
    server: Any = importlib.import_module("server").PromptServer
    frames: list[tuple[int, bytes]] = []

    class Encoder(server):  # type: ignore[misc]  # The base class is known at run time only.
        def __init__(self) -> None:
            pass

        async def send_bytes(self, event: Any, data: Any, sid: Any = None) -> None:  # noqa: ARG002
            frames.append((int(event), bytes(data)))

        async def send_json(self, event: Any, data: Any, sid: Any = None) -> None:
            pass

    sending = Encoder().send(number, data)
    try:
        sending.send(None)  # It awaits nothing but what is above.
    except StopIteration:
        pass
    finally:
        sending.close()
    (frame,) = frames
    return frame
