"""What became of one prompt, as ComfyUI's executor and its history tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NodeFailure:
    """A node that raised. ``message`` is ComfyUI's text, with nothing taken out."""

    node_id: str
    node_type: str
    exception_type: str
    message: str

    @classmethod
    def of(cls, data: Mapping[str, Any], otherwise: str = "") -> NodeFailure:
        """From the data of an ``execution_error``; ``otherwise`` where that has no message."""
        return cls(
            str(data.get("node_id")), str(data.get("node_type")), str(data.get("exception_type")),
            str(data.get("exception_message", otherwise)),
        )  # fmt: skip


@dataclass(frozen=True)
class PromptOutcome:
    """What became of one prompt.

    ``outputs``: ui dict of each node that has one. ``display_ids``: the node that a user sees in its place.
    ``status``: ``success``, ``error`` or ``interrupted``. ``unsaved``: a line for each image that could not be encoded.
    ``unnamed``: files in the output folder that output nodes saved and did not name.
    """

    prompt_id: str
    status: str
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    display_ids: dict[str, str] = field(default_factory=dict)
    failure: NodeFailure | None = None
    unsaved: tuple[str, ...] = ()
    unnamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def outcome_of(prompt_id: str, history: Mapping[str, Any], messages: Sequence[Sequence[Any]]) -> PromptOutcome:
    """Read what ComfyUI notes of a prompt that has ended.

    Args:
        prompt_id: the prompt's.
        history: ``outputs`` and ``meta`` by node id.
        messages: ``(name, data)`` each. The last one tells how it ended; ComfyUI's own flag for that can be stale (a
            dependency cycle).
    """
    name, data = messages[-1]
    status = {"execution_success": "success", "execution_interrupted": "interrupted"}.get(name, "error")
    failure = NodeFailure.of(data, name) if status == "error" else None
    display_ids = {node_id: str(meta.get("display_node", node_id)) for node_id, meta in history["meta"].items()}
    return PromptOutcome(prompt_id, status, dict(history["outputs"]), display_ids, failure)


def blocked(data: Mapping[str, Any]) -> PromptOutcome:
    """A node that an ExecutionBlocker with a message stopped (``execution_error``); the rest of the graph goes on."""
    return PromptOutcome(str(data.get("prompt_id")), "success", failure=NodeFailure.of(data))


def file_entries(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The ``{filename, subfolder, type}`` entries in a node's ui dict, under whatever key."""
    lists = [value for value in output.values() if isinstance(value, list | tuple)]
    return [entry for entries in lists for entry in entries if isinstance(entry, dict) and "filename" in entry]
