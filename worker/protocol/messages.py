"""Turns ComfyUI's messages to its clients into typed events, and calls listeners with them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from worker.events import (
    Event,
    Listener,
    Message,
    ModelLoading,
    NodeOutput,
    NodeProgress,
    NodesCached,
    NodeStarted,
    PromptStarted,
)

MODEL_LOADING = "worker.model_loading"  # The worker's own message: see ``ModelLoading``.

# Messages that become no event. "status" counts the queue, "progress_state" repeats "progress" for every node, and
# "feature_flags" tells a client what the server can do. Instead of the others, the backend itself sends PromptEnded.
_SKIPPED = frozenset(
    {"status", "progress_state", "execution_success", "execution_error", "execution_interrupted", "feature_flags"}
)
_MISSHAPEN = (AttributeError, LookupError, OverflowError, TypeError, ValueError)
_log = logging.getLogger("worker")


def translate(name: str, data: Any, graph: Mapping[str, Any]) -> Event | None:
    """Turn one message of ``PromptServer.send_sync`` into an event; None if there is no event for it.

    Args:
        name: the message's name.
        data: its payload.
        graph: the workflow that runs, from which the class of each node is taken.
    """
    if name in _SKIPPED:
        return None
    try:
        return _translated(name, data, graph)
    except _MISSHAPEN:  # A node pack sent its own data under one of ComfyUI's names.
        return Message(name, data)


def _translated(name: str, data: Any, graph: Mapping[str, Any]) -> Event | None:
    if name == "execution_start":
        return PromptStarted(data["prompt_id"], len(graph))
    if name == "execution_cached":
        return NodesCached(tuple(str(node_id) for node_id in data["nodes"]))
    if name == "executing":
        return _node_started(data, graph)
    if name == "progress":
        return NodeProgress(str(data.get("node")), float(data["value"]), float(data["max"]))
    if name == "executed":
        return NodeOutput(str(data["node"]), dict(data.get("output") or {}))
    if name == MODEL_LOADING:
        done = None if data["done"] is None else int(data["done"])
        return ModelLoading(str(data["node"]), str(data["name"]), done, int(data["total"]), bool(data["is_over"]))
    return Message(name, data)


def _node_started(data: Mapping[str, Any], graph: Mapping[str, Any]) -> NodeStarted | None:
    if data.get("node") is None:
        return None
    node_id, display = str(data["node"]), str(data.get("display_node", data["node"]))
    return NodeStarted(node_id, display, str(graph.get(display, {}).get("class_type", "")))


def tell(listener: Listener | None, event: Event | None) -> None:
    """Call ``listener`` with ``event``. If the listener, which is the caller's code, raises, only log the exception."""
    if listener is None or event is None:
        return
    try:
        listener(event)
    except Exception:  # noqa: BLE001
        _log.exception("An event listener raised")
