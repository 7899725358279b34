"""Follows links to where a value really comes from: through bypassed and virtual nodes, in and out of subgraphs.

A muted node gives nothing. A bypassed one gives what its first input of the same type gets. A virtual one (a reroute, a
pair of set and get) gives what it gets itself. An input of a subgraph gives what the instance gets, or the value of the
widget that the instance shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from worker.convert.file.editor_file import BYPASSED, INPUT_NODE, MUTED, Graph, Node, Slot
from worker.convert.link.virtual import is_getter, is_virtual, setter_of
from worker.convert.node.widgets import Widget
from worker.errors import InvalidJob
from worker.protocol.links import shown


@dataclass(slots=True)
class Scope:
    """One instance of a graph: the workflow itself, or a subgraph. ``path``: the ids of the instances around it."""

    graph: Graph
    path: tuple[str, ...] = ()
    instance: Node | None = None
    outer: Scope | None = None
    inner: dict[str, Scope] = field(default_factory=dict)

    def api_id(self, node: Node) -> str:
        """The id of a node in the API graph."""
        return ":".join((*self.path, node.id))


Source = tuple[str, int]  # The id of a node in the API graph, and the index of its output.
_SHORT = 100  # Characters of an id in a message.
_T = TypeVar("_T")
Found = Source | Widget | None


class _Circle(Exception):
    """A link leads back to itself."""


def source_of(scope: Scope, node: Node, slot: Slot) -> Found:
    """What the link to an input really brings: the output of a node, the value of a widget, or nothing.

    Raises:
        InvalidJob: the link leads nowhere, or back to itself.
    """
    try:
        return _into(scope, node, slot, None, set())
    except _Circle:
        raise _damaged(scope, node, slot, "is linked in a circle") from None
    except RecursionError:
        raise _damaged(scope, node, slot, "is linked through too many other nodes") from None


def _damaged(scope: Scope, node: Node, slot: Slot, what: str) -> InvalidJob:
    return InvalidJob(f"'workflow' is damaged: input {shown(slot.name)} of node {scope.api_id(node)[:_SHORT]} {what}")


def _into(scope: Scope, node: Node, slot: Slot, kind: Any, seen: set[Any]) -> Found:
    _visit(seen, scope, node, slot.name, "input")
    if slot.link is None:
        return None
    link = scope.graph.links.get(slot.link)
    if link is None:
        raise _damaged(scope, node, slot, "has a link that is not there")
    if link.origin == INPUT_NODE and scope.instance is not None and scope.outer is not None:
        outside = _at(scope.instance.inputs, link.origin_slot)
        if outside is None:
            raise _damaged(scope, node, slot, "is linked to an input that its subgraph lacks")
        if outside.link is None:
            return outside.promoted
        return _into(scope.outer, scope.instance, outside, None, seen)
    origin = scope.graph.nodes.get(link.origin)
    if origin is None:
        raise _damaged(scope, node, slot, "is linked to a node that is not there")
    return _out_of(scope, origin, link.origin_slot, kind if kind is not None else slot.type, seen)


def _out_of(scope: Scope, node: Node, index: int, kind: Any, seen: set[Any]) -> Found:
    _visit(seen, scope, node, index, "output")
    if node.mode == MUTED:
        return None
    if node.mode == BYPASSED:
        passed = _passed_on(node, index, kind)
        return None if passed is None else _into(scope, node, passed, None, seen)
    if node.id in scope.inner:
        return _out_of_subgraph(scope.inner[node.id], index, kind, seen)
    if is_getter(node):
        where, setter = setter_of(scope, node)
        return _into(where, setter, setter.inputs[0], kind, seen) if setter.inputs else None
    if is_virtual(node):
        slot = _at(node.inputs, index)
        return None if slot is None else _into(scope, node, slot, kind, seen)
    return scope.api_id(node), index


def _out_of_subgraph(scope: Scope, index: int, kind: Any, seen: set[Any]) -> Found:
    port = _at(scope.graph.outputs, index)
    link = (
        next((scope.graph.links[link_id] for link_id in port.links if link_id in scope.graph.links), None)
        if port
        else None
    )
    if link is None:
        return None
    node = scope.graph.nodes.get(link.origin)
    if node is None:
        raise InvalidJob(
            f"'workflow': output {index} of subgraph {shown(scope.graph.name)} only passes one of its inputs on, which "
            "ComfyUI's editor cannot send: link to what is before the subgraph instead"
        )
    return _out_of(scope, node, link.origin_slot, kind, seen)


def _passed_on(node: Node, index: int, kind: Any) -> Slot | None:
    """The input that a bypassed node passes on to its output ``index``, for an input of type ``kind``."""
    if kind in ("*", ""):
        return _at(node.inputs, index) or _at(node.inputs, 0)
    given = node.outputs[index].type if index < len(node.outputs) else "*"
    opposite = _at(node.inputs, index)
    if opposite is not None and fits(opposite.type, given) and fits(opposite.type, kind):
        return opposite
    for slot in node.inputs:
        if slot.type == kind:
            return slot
    return next((slot for slot in node.inputs if fits(slot.type, given) and fits(slot.type, kind)), None)


def fits(one: Any, other: Any) -> bool:
    """Whether the editor lets an output of one type lead to an input of the other. ``"A,B"`` is either of two types."""
    if one in ("", "*", 0, None) or other in ("", "*", 0, None):
        return True
    return not set(_kinds(one)).isdisjoint(_kinds(other))


def _kinds(kind: Any) -> Iterator[str]:
    yield from str(kind).lower().split(",")


def _visit(seen: set[Any], scope: Scope, node: Node, slot: str | int, side: str) -> None:
    step = (scope.path, node.id, slot, side)
    if step in seen:
        raise _Circle
    seen.add(step)


def _at(items: list[_T], index: int) -> _T | None:
    return items[index] if 0 <= index < len(items) else None
