"""Gives the value of each primitive to the widgets that it is linked to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.convert.file.editor_file import Graph, Node, Slot
from worker.convert.link.virtual import PRIMITIVE
from worker.convert.node.widgets import MISSING, Widget


def apply_primitives(graph: Graph, nodes: Iterable[Node]) -> None:
    """Set the widgets that the primitives among ``nodes`` are linked to. ``graph``: the one that they are in."""
    for node in nodes:
        if node.type == PRIMITIVE and node.outputs:
            targets = [_target(graph, link_id) for link_id in node.outputs[0].links]
            found = [target for target in targets if target is not None]
            if found and found[0][1] is not None:  # The first link decides whether the primitive has a widget.
                value = node.saved[0] if isinstance(node.saved, list) and node.saved else found[0][1].value
                for _, widget in found:
                    _set(widget, value)


def _set(widget: Widget | None, value: Any) -> None:
    if widget is not None and value is not MISSING:
        widget.value = value


def _target(graph: Graph, link_id: Any) -> tuple[Slot, Widget | None] | None:
    link = graph.links.get(link_id)
    node = graph.nodes.get(link.target) if link else None
    slot = next((slot for slot in node.inputs if slot.link == link_id), None) if node else None
    if node is None or slot is None:
        return None
    if slot.promoted is not None:
        return slot, slot.promoted
    return slot, next((widget for widget in node.widgets if slot.widget and widget.name == slot.widget), None)
