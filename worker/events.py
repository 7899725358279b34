"""The events that a backend reports while a job runs, and the notices for the operator.

A listener is called with one event after the other, in order, and mostly on the backend's thread. What a node pack says
on a thread of its own comes on that thread, but never while the listener still has another event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class PromptStarted:
    """A prompt begins. ``node_count``: nodes of the workflow."""

    prompt_id: str
    node_count: int


@dataclass(frozen=True)
class NodesCached:
    """Nodes that do not run again, since ComfyUI still has their results."""

    node_ids: tuple[str, ...]


@dataclass(frozen=True)
class NodeStarted:
    """A node begins. ``display_node_id``: the node that the user sees, if this one is part of an expanded subgraph."""

    node_id: str
    display_node_id: str
    class_type: str


@dataclass(frozen=True)
class NodeProgress:
    """A node is at ``value`` of ``maximum`` steps."""

    node_id: str
    value: float
    maximum: float


@dataclass(frozen=True)
class Preview:
    """A preview of the image that a sampler makes. ``image`` is not encoded."""

    node_id: str | None
    image: Image


@dataclass(frozen=True)
class NodeOutput:
    """An output node is done. ``output``: its ui dict, such as ``{"images": [{filename, subfolder, type}]}``."""

    node_id: str
    output: Mapping[str, Any]


@dataclass(frozen=True)
class PromptEnded:
    """The last event of a prompt. ``status``: ``success``, ``error`` or ``interrupted``."""

    prompt_id: str
    status: str


@dataclass(frozen=True)
class Message:
    """Any other message that ComfyUI or a custom node sends to its clients."""

    name: str
    data: Any = field(repr=False)


@dataclass(frozen=True)
class Notice:
    """A short text for the operator: a step of the start, or a warning."""

    text: str
    is_warning: bool = False

    def __str__(self) -> str:
        return f"warning: {self.text}" if self.is_warning else self.text


Say = Callable[[Notice], None]
Event = PromptStarted | NodesCached | NodeStarted | NodeProgress | Preview | NodeOutput | PromptEnded | Message
Listener = Callable[[Event], None]
