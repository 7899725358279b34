"""Nodes that only the editor has: notes, reroutes, primitives, pairs of set and get. The API graph has none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import InvalidJob

if TYPE_CHECKING:
    from worker.convert.file.editor_file import Node
    from worker.convert.link.sources import Scope

PRIMITIVE = "PrimitiveNode"
_GETTERS = {"GetNode": "SetNode", "easy getNode": "easy setNode"}
_WITHOUT_LINKS = frozenset({
    "Note", "MarkdownNote", "Label (rgthree)", "Bookmark (rgthree)", "Fast Muter (rgthree)", "Fast Bypasser (rgthree)",
    "Fast Groups Muter (rgthree)", "Fast Groups Bypasser (rgthree)", "Mute / Bypass Relay (rgthree)",
    "Mute / Bypass Repeater (rgthree)", "Fast Actions Button (rgthree)", "Random Unmuter (rgthree)",
    "Node Collector (rgthree)",
})  # fmt: skip
_VIRTUAL = frozenset({PRIMITIVE, "Reroute", "Reroute (rgthree)", *_GETTERS, *_GETTERS.values(), *_WITHOUT_LINKS})


def is_virtual(node: Node) -> bool:
    """Whether only the editor has the node."""
    return node.type in _VIRTUAL


def is_getter(node: Node) -> bool:
    """Whether the node gives what another node, its setter, gets."""
    return node.type in _GETTERS


def setter_of(scope: Scope, getter: Node) -> tuple[Scope, Node]:
    """The setter of the same name: in the same graph, or in one around it.

    Raises:
        InvalidJob: there is none.
    """
    name = _name(getter)
    where: Scope | None = scope
    while where is not None:
        for node in where.graph.nodes.values():
            if node.type == _GETTERS[getter.type] and _name(node) == name:
                return where, node
        where = where.outer
    raise InvalidJob(
        f"'workflow': node {scope.api_id(getter)} ({getter.type}) gets {name!r}, which no {_GETTERS[getter.type]} sets"
    )


def _name(node: Node) -> str:
    values = list(node.saved.values()) if isinstance(node.saved, dict) else node.saved
    return str(values[0]) if values else ""
