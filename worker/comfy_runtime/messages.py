"""ComfyUI's messages to its clients → typed events."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from worker.events import Event, Message, NodeOutput, NodeProgress, NodesCached, NodeStarted, Preview, PromptStarted

# "status" counts the queue, "progress_state" repeats "progress" for every node, "executing" without a node and
# the endings are told by the backend, which knows better.
_SKIPPED = frozenset({"status", "progress_state", "execution_success", "execution_error", "execution_interrupted"})


def translate(name: Any, data: Any, graph: Mapping[str, Any]) -> Event | None:
    """Turn one message of ``PromptServer.send_sync`` into an event; None where there is nothing to tell.

    Args:
        name: the event's name, or the number of a binary one.
        data: its payload.
        graph: the running workflow, for the class of a node.
    """
    if not isinstance(name, str):
        return _binary(name, data)
    if name in _SKIPPED:
        return None
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


def _binary(number: Any, data: Any) -> Event:
    kinds = importlib.import_module("protocol").BinaryEventTypes
    if number == kinds.PREVIEW_IMAGE_WITH_METADATA:
        (_, image, _), metadata = data
        return Preview(metadata.get("node_id"), image)
    if number == kinds.UNENCODED_PREVIEW_IMAGE:
        return Preview(None, data[1])
    return Message(next((name for name, value in vars(kinds).items() if value == number), str(number)), data)
