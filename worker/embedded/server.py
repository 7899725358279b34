"""Builds ComfyUI's own ``PromptServer``, which node packs expect. It never listens; its messages go to the worker."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

MessageListener = Callable[[Any, Any], None]
CLIENT_ID = "worker"
_log = logging.getLogger("worker")


def make_server(prompt_server: Any, loop: Any) -> Any:
    """Build a ``PromptServer`` on ``loop`` whose messages go to its attribute ``on_message`` instead of to sockets.

    Args:
        prompt_server: ComfyUI's class. Its ``instance`` becomes the object returned.
        loop: the event loop that node packs will find as ``PromptServer.instance.loop``.
    """

    class InProcessServer(prompt_server):  # type: ignore[misc]  # The base class is known at run time only.
        on_message: MessageListener | None = None

        def send_sync(self, event: Any, data: Any, sid: str | None = None) -> None:  # noqa: ARG002 - there is one client.
            listener = self.on_message
            if listener is None:
                return
            try:
                listener(event, data)
            except Exception:  # noqa: BLE001 - on a stock server, no message fails the node that sends it.
                _log.exception("A message of ComfyUI or of a node pack (%.80r) cannot be handled", event)

    server = InProcessServer(loop)
    # Ask for previews with the id of their node, as ComfyUI's front end does.
    server.sockets_metadata[CLIENT_ID] = {"feature_flags": {"supports_preview_metadata": True}}
    return server


class _PromptRequest:
    """The parts of a request that the ``/prompt`` route reads."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body
        self.headers: Mapping[str, str] = {}

    async def json(self) -> dict[str, Any]:
        return self._body


def prompt_route(server: Any) -> Callable[[dict[str, Any]], Awaitable[tuple[int, dict[str, Any]]]]:
    """Find the server's own ``POST /prompt``, since versions differ in what it does before it queues a graph.

    Returns:
        A coroutine function: request body → HTTP status and the answer's JSON.
    """
    handler = next(route.handler for route in server.routes if (route.method, route.path) == ("POST", "/prompt"))

    async def post(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        response = await handler(_PromptRequest(body))
        return response.status, json.loads(response.text)

    return post
