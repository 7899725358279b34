"""Reads the outcome of one prompt from ComfyUI's messages and history."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NodeFailure:
    """A node that raised an exception. ``message``: ComfyUI's text. It may hold secrets and paths."""

    node_id: str
    node_type: str
    exception_type: str
    message: str

    @classmethod
    def of(cls, data: Mapping[str, Any], otherwise: str = "") -> NodeFailure:
        """Read the data of an ``execution_error``. ``otherwise``: the message if ``data`` has none."""
        return cls(
            str(data.get("node_id")), str(data.get("node_type")), str(data.get("exception_type")),
            str(data.get("exception_message", otherwise)),
        )  # fmt: skip


@dataclass(frozen=True)
class PromptOutcome:
    """How one prompt ended, and what its nodes produced.

    Attributes:
        status: ``success``, ``error`` or ``interrupted``.
        outputs: the ui dict of each node that has one, by node id.
        display_ids: id of the node that the user sees, by the id of the node that ran.
        failure: the node that raised an exception; None if there is none.
        unsaved: a line for each image that could not be encoded.
        warnings: a line for each thing that the prompt's files lack.
        unnamed: paths in the output folder of files that a node saved and its ui dict does not name, by node id.
        sent: entries as in a ui dict, for the files made of pictures for ComfyUI's page, by node id.
    """

    prompt_id: str
    status: str
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    display_ids: dict[str, str] = field(default_factory=dict)
    failure: NodeFailure | None = None
    unsaved: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unnamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sent: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


def outcome_of(prompt_id: str, history: Mapping[str, Any], messages: Sequence[Sequence[Any]]) -> PromptOutcome:
    """Read the outcome of a prompt that has ended.

    Args:
        prompt_id: the prompt's id.
        history: ``outputs`` and ``meta``, each a dict by node id.
        messages: pairs of ``(name, data)``. The last one says how the prompt ended. ComfyUI also has a flag for this,
            but it can be stale, for example after a dependency cycle.
    """
    name, data = messages[-1]
    status = {"execution_success": "success", "execution_interrupted": "interrupted"}.get(name, "error")
    failure = NodeFailure.of(data, name) if status == "error" else None
    display_ids = {node_id: str(meta.get("display_node", node_id)) for node_id, meta in history["meta"].items()}
    return PromptOutcome(prompt_id, status, dict(history["outputs"]), display_ids, failure)


def blocked(name: object, data: object) -> PromptOutcome | None:
    """The outcome for a node that an ExecutionBlocker stopped with a message. The rest of the graph goes on.

    Returns None for all other messages. A node pack may send anything under ComfyUI's ``execution_error``.
    """
    if name != "execution_error" or not isinstance(data, Mapping) or data.get("exception_type") != "ExecutionBlocked":
        return None
    return PromptOutcome(str(data.get("prompt_id")), "success", failure=NodeFailure.of(data))


def file_entries(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The ``{filename, subfolder, type}`` entries in a node's ui dict, under any key."""
    return [entry for entry in dict_entries(output) if "filename" in entry]


def dict_entries(output: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All entries in a node's ui dict that are dicts, under any key."""
    lists = (value for value in output.values() if isinstance(value, list | tuple))
    return (entry for entries in lists for entry in entries if isinstance(entry, dict))


Outputs = Mapping[str, Mapping[str, Any]]


def with_entries(outputs: Outputs, change: Callable[[Any], Iterable[Any]]) -> dict[str, dict[str, Any]]:
    """The ui dicts of nodes, with what ``change`` makes of each entry in its place."""
    return {
        node_id: {
            key: list(itertools.chain.from_iterable(map(change, value))) if isinstance(value, list) else value
            for key, value in shown.items()
        }
        for node_id, shown in outputs.items()
    }
