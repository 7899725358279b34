"""Reads a workflow as ComfyUI's editor saves it. Both generations of the format become the same ``Graph``.

The older one (``"version": 0.4``) writes a link as ``[id, origin, output, target, input, type]``, the newer one and
all subgraphs as an object. A subgraph stands once under ``definitions.subgraphs``; a node whose type is the subgraph's
id is an instance of it. Links from its inputs come from node ``-10``, and links to its outputs go to node ``-20``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.convert.node.widgets import Widget
from worker.errors import InvalidJob

INPUT_NODE = "-10"
_MOST_PLACES, _MOST_PORTS = 10_000, 500
MUTED, BYPASSED = 2, 4


@dataclass(slots=True)
class Slot:
    """An input of a node. ``link``: the id of the link that leads to it. ``widget``: the name of its widget.

    ``promoted``: on an instance of a subgraph, the widget that shows an inner one.
    """

    name: str
    type: Any
    link: Any = None
    widget: str | None = None
    promoted: Widget | None = None


@dataclass(slots=True)
class Output:
    """An output of a node, with the ids of its links."""

    type: Any
    links: list[Any]


@dataclass(slots=True)
class Link:
    """From an output of ``origin`` to ``target``, by indices. Which input it is, is certain only by the link's id."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(slots=True)
class Port:
    """An input or output of a subgraph, and the ids of the links inside that begin or end there."""

    name: str
    type: Any
    links: list[Any]


@dataclass(slots=True)
class Node:
    """A node.

    Attributes:
        mode: 2: muted, 4: bypassed, otherwise on.
        saved: its ``widgets_values``.
        names: the names of all its widgets that can be linked, in their order, if the file has them. Exports to the API
            and older editors leave those out that nothing is linked to.
        widgets: what it shows, once it is laid out.
        misfits: what of it does not fit its class here.
        overrides: values of widgets, by name, that replace the saved ones.
    """

    id: str
    type: str
    title: str | None
    mode: int
    inputs: list[Slot]
    outputs: list[Output]
    saved: list[Any] | dict[str, Any] | None
    properties: dict[str, Any]
    widgets: list[Widget] = field(default_factory=list)
    names: list[str] | None = None
    misfits: list[str] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def is_off(self) -> bool:
        """Whether it is muted or bypassed."""
        return self.mode in (MUTED, BYPASSED)


@dataclass(slots=True)
class Graph:
    """The whole workflow, or the definition of a subgraph, which all instances of it share."""

    id: str
    name: str
    nodes: dict[str, Node]
    links: dict[Any, Link]
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)


@dataclass(slots=True)
class EditorFile:
    """A workflow.

    Attributes:
        last_id: the highest node id that the editor has given so far.
        used: the ids of the subgraphs that have an instance.
        places: how many nodes there are, those of all instances of subgraphs together.
    """

    root: Graph
    subgraphs: dict[str, Graph]
    last_id: int
    group_nodes: Mapping[str, Any]
    used: set[str] = field(default_factory=set)
    places: int = 0

    def count(self, nodes: int) -> None:
        """Add to ``places``.

        Raises:
            InvalidJob: there are too many.
        """
        self.places += nodes
        if self.places > _MOST_PLACES:
            raise InvalidJob(f"'workflow' has more than {_MOST_PLACES} nodes, those of all instances among them")


def is_editor_format(workflow: object) -> bool:
    """Whether a JSON object is a workflow as the editor saves it, and not an API graph."""
    return isinstance(workflow, Mapping) and isinstance(workflow.get("nodes"), list)


def read_editor_file(workflow: Mapping[str, Any]) -> EditorFile:
    """Read a workflow of the editor.

    Raises:
        InvalidJob: it is damaged: something in it is not of the kind that it must be.
    """
    state = workflow.get("state")
    last = workflow.get("last_node_id")
    if last is None and isinstance(state, Mapping):
        last = state.get("lastNodeId")
    extra = workflow.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, Mapping) else None
    root = _graph(workflow, "the workflow")
    subgraphs = {graph.id: graph for graph in _subgraphs(workflow)}
    return EditorFile(
        root=root,
        subgraphs=subgraphs,
        last_id=last if isinstance(last, int) else 0,
        group_nodes=groups if isinstance(groups, Mapping) else {},
    )


def _subgraphs(container: Mapping[str, Any]) -> Iterator[Graph]:
    definitions = container.get("definitions")
    found = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    for raw in found if isinstance(found, list) else ():
        raw = _object(raw, "a subgraph")
        graph = _graph(raw, "a subgraph")
        graph.inputs = [_port(port) for port in _list(raw.get("inputs"), "the inputs of a subgraph")]
        if len(graph.inputs) > _MOST_PORTS:
            raise InvalidJob(f"'workflow': a subgraph has {len(graph.inputs)} inputs, and may have {_MOST_PORTS}")
        graph.outputs = [_port(port) for port in _list(raw.get("outputs"), "the outputs of a subgraph")]
        yield graph
        yield from _subgraphs(raw)


def _graph(raw: Mapping[str, Any], where: str) -> Graph:
    nodes = [_node(_object(node, f"a node of {where}")) for node in _list(raw.get("nodes"), f"the nodes of {where}")]
    links = dict(map(_link, _list(raw.get("links"), f"the links of {where}")))
    return Graph(str(raw.get("id", "")), str(raw.get("name", "")), {node.id: node for node in nodes}, links)


def _node(raw: Mapping[str, Any]) -> Node:
    what = f"node {str(raw.get('id'))[:60]}"
    mode, saved, properties = raw.get("mode", 0), raw.get("widgets_values"), raw.get("properties")
    title = raw.get("title")
    inputs = [_object(slot, f"an input of {what}") for slot in _list(raw.get("inputs"), f"the inputs of {what}")]
    slots = [_slot(slot) for slot in inputs]
    has_all = any(
        slot.widget and raw.get("link") is None and not raw.get("label")
        for slot, raw in zip(slots, inputs, strict=True)
    )
    return Node(
        id=str(raw.get("id")),
        type=str(raw.get("type")),
        title=title if isinstance(title, str) and title else None,
        mode=mode if isinstance(mode, int) else 0,
        inputs=slots,
        outputs=[
            Output(slot.get("type"), list(slot.get("links") or ()))
            for slot in _list(raw.get("outputs"), f"the outputs of {what}")
            if isinstance(slot, Mapping)
        ],
        saved=saved if isinstance(saved, list | dict) else None,
        properties=dict(properties) if isinstance(properties, dict) else {},
        names=[slot.widget for slot in slots if slot.widget] if has_all else None,
    )


def _slot(raw: Mapping[str, Any]) -> Slot:
    widget = raw.get("widget")
    name = widget.get("name") if isinstance(widget, Mapping) else None
    return Slot(str(raw.get("name")), raw.get("type"), raw.get("link"), name if isinstance(name, str) else None)


def _port(raw: object) -> Port:
    raw = _object(raw, "an input or output of a subgraph")
    return Port(str(raw.get("name")), raw.get("type"), list(raw.get("linkIds") or ()))


def _link(raw: object) -> tuple[Any, Link]:
    try:
        if isinstance(raw, Mapping):
            return raw["id"], Link(
                str(raw["origin_id"]), int(raw["origin_slot"]), str(raw["target_id"]), int(raw["target_slot"])
            )
        if isinstance(raw, list):
            return raw[0], Link(str(raw[1]), int(raw[2]), str(raw[3]), int(raw[4]))
    except (LookupError, TypeError, ValueError):
        pass
    raise InvalidJob(f"'workflow' is damaged: {str(raw)[:60]} is no link between nodes")


def _object(value: object, what: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise InvalidJob(f"'workflow' is damaged: {what} must be an object, not {str(value)[:60]}")


def _list(value: object, what: str) -> list[Any]:
    """``value``; empty if it is missing. The editor once wrote lists as objects with the keys "0", "1" …"""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and all(isinstance(key, str) and key.isdecimal() for key in value):
        return list(value.values())
    raise InvalidJob(f"'workflow' is damaged: {what} must be a list, not {str(value)[:60]}")
