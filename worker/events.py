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
class Forecast:
    """What earlier runs say of a workflow.

    Attributes:
        seconds: how long each node will take, by node id.
        is_same_graph: whether a run of the same graph is among them. Otherwise the seconds are those of other nodes of
            the same classes, and good for comparisons only.
    """

    seconds: Mapping[str, float]
    is_same_graph: bool


@dataclass(frozen=True)
class PromptStarted:
    """A prompt begins.

    ``node_count``: nodes of the workflow. ``forecast``: None if there was no earlier run. ``goes_on``: whether another
    prompt of the same job has begun before, since a node has queued this one, or since the job is run once more.
    """

    prompt_id: str
    node_count: int
    forecast: Forecast | None = field(default=None, repr=False, compare=False)
    goes_on: bool = False


@dataclass(frozen=True)
class NodesCached:
    """Nodes that do not run again, since ComfyUI still has their results."""

    node_ids: tuple[str, ...]


@dataclass(frozen=True)
class NodeStarted:
    """A node begins.

    ``display_node_id``: the node that the user sees, if this one is part of an expanded subgraph. ``title``: what the
    caller calls that node, on one line; empty if the workflow has no title for it.
    """

    node_id: str
    display_node_id: str
    class_type: str
    title: str = ""


@dataclass(frozen=True)
class NodeProgress:
    """A node is at ``value`` of ``maximum`` steps."""

    node_id: str
    value: float
    maximum: float


@dataclass(frozen=True)
class ModelLoading:
    """A node loads a model: from its file, or onto the device.

    ``name``: of the file, or of the model's class. ``done``: bytes that are there; None if that is not known.
    ``total``: bytes of the model. ``is_over``: whether this is the last one about this model.
    """

    node_id: str
    name: str
    done: int | None
    total: int
    is_over: bool = False


@dataclass(frozen=True)
class ModelsFetching:
    """The models that a job brings are being fetched, before it has its turn.

    ``done``: bytes that are there. ``total``: bytes of all files that must be fetched, as far as their servers tell.
    """

    done: int
    total: int


@dataclass(frozen=True)
class Preview:
    """A preview of the image that a sampler makes.

    ``image`` is not encoded. ``jpeg``: the same as a small JPEG, with ``PROGRESS_PREVIEWS=true``, but not more often
    than every ``PROGRESS_INTERVAL_S``; None otherwise.
    """

    node_id: str | None
    image: Image
    jpeg: bytes | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class NodeOutput:
    """An output node is done. ``output``: its ui dict, such as ``{"images": [{filename, subfolder, type}]}``."""

    node_id: str
    output: Mapping[str, Any]


@dataclass(frozen=True)
class PromptEnded:
    """The last event of a prompt.

    ``status``: ``success``, ``error`` or ``interrupted``. ``is_last``: whether no other prompt of the same job follows.
    """

    prompt_id: str
    status: str
    is_last: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class DeviceDoubted:
    """A failure speaks of the CUDA device, so that the job must end soon.

    ``error``: the job's error if the device is broken. If it is empty, the device works after all.
    """

    error: str


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
Event = (
    PromptStarted
    | NodesCached
    | NodeStarted
    | NodeProgress
    | ModelLoading
    | ModelsFetching
    | Preview
    | NodeOutput
    | PromptEnded
    | DeviceDoubted
    | Message
)
Listener = Callable[[Event], None]


def title_of(node: object) -> str | None:
    """The title that a caller gave to a node of an API graph, its ``_meta.title``; None if it has none."""
    meta = node.get("_meta") if isinstance(node, Mapping) else None
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return title if isinstance(title, str) else None
