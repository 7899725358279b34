"""Nodes that only the editor has: notes, reroutes, primitives, pairs of set and get. The API graph has none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import InvalidJob
from worker.protocol.links import shown
from worker.protocol.missing_classes import OF_THE_EDITOR

if TYPE_CHECKING:
    from worker.convert.file.editor_file import Node
    from worker.convert.link.sources import Scope

PRIMITIVE = "PrimitiveNode"
_GETTERS = {"GetNode": "SetNode", "easy getNode": "easy setNode"}


def is_virtual(node: Node) -> bool:
    """Whether only the editor has the node."""
    return node.type in OF_THE_EDITOR


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
        f"'workflow': node {scope.api_id(getter)[:100]} ({getter.type}) gets {shown(name)}, which no "
        f"{_GETTERS[getter.type]} sets"
    )


def _name(node: Node) -> str:
    values = list(node.saved.values()) if isinstance(node.saved, dict) else node.saved
    return str(values[0]) if values else ""
