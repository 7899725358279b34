"""Inputs that a node of the editor shows for those of other nodes: promoted widgets of a subgraph, and primitives.

The API graph has neither subgraphs nor primitives. ``Handle`` remembers what people see of them in the editor, so that
a request can name it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from worker.convert.file.editor_file import Node
from worker.convert.link.sources import Scope
from worker.convert.link.virtual import PRIMITIVE
from worker.convert.node.widgets import Widget

PRIMITIVES_INPUT = "value"
Target = tuple[str, str]  # The id of a node of the API graph, and the name of its input.


@dataclass(frozen=True, slots=True)
class Handle:
    """An input of a node that only the editor has.

    Attributes:
        node_id: the id of that node, with those of the subgraphs around it: ``42`` or ``42:8``.
        title: its title in the editor.
        name: the input's name.
        targets: the inputs that it stands for.
    """

    node_id: str
    title: str
    name: str
    targets: tuple[Target, ...]


class Handles:
    """Collects the handles of a workflow while it is converted."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[str, list[Target]]] = {}

    def add_promoted(self, scope: Scope, widget: Widget, target: Target) -> None:
        """Note that ``target`` has the value of ``widget``, which an instance around ``scope`` shows."""
        around: Scope | None = scope
        while around is not None and around.instance is not None:
            for slot in around.instance.inputs:
                if slot.promoted is widget:
                    title = around.instance.title or around.graph.name
                    self._add(":".join(around.path), title, slot.name, [target])
                    return
            around = around.outer

    def add_primitives(self, places: Iterable[tuple[Scope, Node]]) -> None:
        """Note what primitives stand for. Call it when all promoted widgets are noted."""
        for scope, node in places:
            if node.type == PRIMITIVE and node.outputs:
                targets = [target for link_id in node.outputs[0].links for target in self._targets(scope, link_id)]
                self._add(scope.api_id(node), node.title or PRIMITIVE, PRIMITIVES_INPUT, targets)

    def _targets(self, scope: Scope, link_id: object) -> Iterator[Target]:
        link = scope.graph.links.get(link_id)
        node = scope.graph.nodes.get(link.target) if link is not None else None
        for slot in node.inputs if node is not None else ():
            if node is not None and slot.link == link_id:
                if slot.promoted is not None:
                    yield from self._found.get((scope.api_id(node), slot.name), ("", []))[1]
                elif slot.widget is not None:
                    yield scope.api_id(node), slot.widget

    def _add(self, node_id: str, title: str, name: str, targets: list[Target]) -> None:
        if targets:
            self._found.setdefault((node_id, name), (title, []))[1].extend(targets)

    def of(self, graph: Mapping[str, object]) -> tuple[Handle, ...]:
        """Those that stand for inputs of nodes of ``graph``, the API graph."""
        found = (
            Handle(node_id, title, name, tuple(target for target in targets if target[0] in graph))
            for (node_id, name), (title, targets) in self._found.items()
        )
        return tuple(handle for handle in found if handle.targets)
