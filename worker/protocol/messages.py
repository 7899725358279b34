"""ComfyUI's messages to its clients → typed events, and how they reach a listener."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from worker.events import Event, Listener, Message, NodeOutput, NodeProgress, NodesCached, NodeStarted, PromptStarted

# "status" counts the queue, "progress_state" repeats "progress" for every node, "executing" without a node and
# the endings are told by the backend, which knows better; "feature_flags" is an agreement between client and server.
_SKIPPED = frozenset(
    {"status", "progress_state", "execution_success", "execution_error", "execution_interrupted", "feature_flags"}
)
_MISSHAPEN = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
_log = logging.getLogger("worker")


def translate(name: str, data: Any, graph: Mapping[str, Any]) -> Event | None:
    """Turn one message of ``PromptServer.send_sync`` into an event; None where there is nothing to tell.

    Args:
        name: the event's name.
        data: its payload.
        graph: the running workflow, for the class of a node.
    """
    if name in _SKIPPED:
        return None
    try:
        return _translated(name, data, graph)
    except _MISSHAPEN:  # A node's message under a name of ComfyUI's.
        return Message(name, data)


def _translated(name: str, data: Any, graph: Mapping[str, Any]) -> Event | None:
    if name == "execution_start":
        return PromptStarted(data["prompt_id"], len(graph))
    if name == "execution_cached":
        return NodesCached(tuple(data["nodes"]))
    if name == "executing":
        return _node_started(data, graph)
    if name == "progress":
        return NodeProgress(str(data.get("node")), float(data["value"]), float(data["max"]))
    if name == "executed":
        return NodeOutput(str(data["node"]), data.get("output") or {})
    return Message(name, data)


def _node_started(data: Mapping[str, Any], graph: Mapping[str, Any]) -> NodeStarted | None:
    if data.get("node") is None:
        return None
    node_id, display = str(data["node"]), str(data.get("display_node", data["node"]))
    return NodeStarted(node_id, display, str(graph.get(display, {}).get("class_type", "")))


def tell(listener: Listener | None, event: Event | None) -> None:
    """Hand ``event`` on. A listener is the caller's code: what it raises is logged, and the graph goes on."""
    if listener is None or event is None:
        return
    try:
        listener(event)
    except Exception:  # noqa: BLE001
        _log.exception("An event listener raised")
