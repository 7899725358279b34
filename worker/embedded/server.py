"""Builds ComfyUI's own ``PromptServer``, which node packs expect. It never listens; its messages go to the worker."""

from __future__ import annotations

import heapq
import importlib
import json
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from worker.embedded import versions

MessageListener = Callable[[Any, Any], None]
_log = logging.getLogger("worker")


def make_server(prompt_server: Any, loop: Any, asset_manager: Any = None) -> Any:
    """Build a ``PromptServer`` on ``loop`` whose messages go to its attribute ``client`` instead of to sockets.

    Args:
        prompt_server: ComfyUI's class. Its ``instance`` becomes the object returned.
        loop: the event loop that node packs will find as ``PromptServer.instance.loop``.
        asset_manager: what newer versions of ComfyUI keep their files' database with, or None.
    """

    class InProcessServer(prompt_server):  # type: ignore[misc]  # The base class is known at run time only.
        client: Client | None = None

        def send_sync(self, event: Any, data: Any, sid: str | None = None) -> None:
            client = self.client
            if client is not None:
                client.receive(event, data, sid)

    server = versions.with_assets(InProcessServer, loop, manager=asset_manager)
    if asset_manager is not None:
        asset_manager.set_event_sink(lambda *_: None)  # What it finds in the background is no message of a job.
    return server


class Client:
    """A job as ComfyUI's server sees it: a client with an id of its own, which gets the messages that are for it.

    A thread that an earlier job left behind may go on to send. What it sends to its own client, or to all, is dropped.
    The stock server, too, gives one client nothing of another one's. Made on the thread that runs the job.

    Args:
        server: the server of ``make_server``.
        service: the threads that were there before the first job. Those of packs send to all, as Crystools' monitor.

    Attributes:
        id: the client's id.
        listener: called with each message, and never by two threads at once; None between prompts.
        tells_loading: whether it is told of the models that ComfyUI loads.
    """

    def __init__(self, server: Any, service: Collection[threading.Thread]) -> None:
        self.id = uuid.uuid4().hex
        self.listener: MessageListener | None = None
        self.tells_loading = False
        self._server = server
        self._leftover = set(threading.enumerate()).difference(service, [threading.current_thread()])
        self._lock = threading.RLock()  # A listener may cause a message.
        # Ask for previews with the id of their node, as ComfyUI's front end does.
        server.sockets_metadata[self.id] = {"feature_flags": {"supports_preview_metadata": True}}
        server.client = self

    def receive(self, event: Any, data: Any, to: str | None) -> None:
        """Take a message from any thread. ``to``: the id of the client that it is for; None: it is for all."""
        if to is None and threading.current_thread() in self._leftover:
            return
        # A prompt that a node has queued may have another client id. It is part of the job, and so are its messages.
        if to is not None and to not in (self.id, self._server.client_id):
            return
        with self._lock:
            if self.listener is None:
                return
            try:
                self.listener(event, data)
            except Exception:  # noqa: BLE001 - on a stock server, no message fails the node that sends it.
                _log.exception("A message of ComfyUI or of a node pack (%.80r) cannot be handled", event)

    def close(self) -> None:
        """Receive nothing more."""
        self._server.client = self._server.client_id = None
        self._server.sockets_metadata.pop(self.id, None)


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


def take_prompt(queue: Any) -> tuple[Any, int] | None:
    """The next prompt of ComfyUI's ``queue`` and its number; None if there is none.

    As ``PromptQueue.get`` does it, but for the copy that the queue keeps of what it gave. Every node finds that copy,
    so the caller's key does not stay in it; and to copy a graph takes long.
    """
    with queue.mutex:
        if not queue.queue:
            return None
        if _is_of_pack(queue.get):
            taken: tuple[Any, int] | None = queue.get(timeout=0)
        else:
            taken = heapq.heappop(queue.queue), queue.task_counter
            queue.task_counter += 1
            queue.server.queue_updated()
        if taken is not None:
            # An item that a node has queued may lack the last part, which older versions of ComfyUI did not have.
            queue.currently_running[taken[1]] = (*taken[0][:5], {})
    return taken


def _is_of_pack(method: Any) -> bool:
    """Whether a pack has put its own function in place of a method of ComfyUI's ``execution`` module."""
    code = getattr(getattr(method, "__func__", None), "__code__", None)
    return code is None or code.co_filename != importlib.import_module("execution").__file__
