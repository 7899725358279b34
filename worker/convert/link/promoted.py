"""Lays out instances of subgraphs: their inputs, and the widgets of inner nodes that they show (promote).

An input of a subgraph that leads to a widget shows that widget on each instance, where it has a value of its own. The
instance's ``widgets_values`` are those of its promoted widgets, in the order of its inputs. Older files name the
widgets in ``properties.proxyWidgets`` instead, as ``[id of the inner node, name of its widget]`` or ``["-1", name of
the input]``, with ``widgets_values`` in that order, and may name widgets that no input leads to: the editor then adds
such an input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from worker.convert.file.editor_file import INPUT_NODE, Graph, Link, Node, Port, Slot
from worker.convert.link.virtual import PRIMITIVE
from worker.convert.node.widgets import MISSING, Widget
from worker.errors import InvalidJob

_MOST = 500  # Promoted widgets of an instance.
_PREFIX = re.compile(r"\s*(\d+)\s*:\s*(.+)")  # "12: text" was written for the widget "text" of node 12.


class Instances:
    """The instances of all subgraphs that were laid out so far."""

    def __init__(self, subgraphs: dict[str, Graph]) -> None:
        self._subgraphs = subgraphs
        self._nodes: dict[str, list[Node]] = {}
        self._finished: set[str] = set()

    def lay_out(self, node: Node) -> None:
        """Give an instance the inputs of its subgraph, with the widgets that they show."""
        graph = self._subgraphs[node.type]
        saved = {slot.name: slot for slot in node.inputs}
        node.inputs = [
            Slot(port.name, port.type, saved[port.name].link if port.name in saved else None) for port in graph.inputs
        ]
        self._nodes.setdefault(graph.id, []).append(node)
        if graph.id in self._finished:
            self._show_all(node, graph)
            values = iter(node.saved if isinstance(node.saved, list) else ())
            by_name = dict(_set_aside(node))
            for slot in node.inputs:
                if slot.promoted is not None:
                    _set(slot, by_name.get(slot.name, _or_missing(next(values, None))))

    def finish(self, graph: Graph) -> None:
        """Show the widgets of ``graph`` on the instances that came before it.

        The editor lays an instance out before its subgraph if it could not tell their order, and drops saved values.
        """
        self._finished.add(graph.id)
        for node in self._nodes.get(graph.id, ()):
            self._show_all(node, graph)
            shown = [slot for slot in node.inputs if slot.promoted is not None]
            for slot, value in zip(shown, node.saved if isinstance(node.saved, list) else (), strict=False):
                if slot.link is None and slot.promoted and value not in (None, slot.promoted.value):
                    node.misfits.append(f"the editor drops the value of {slot.name!r} when it opens the file")

    def _show_all(self, node: Node, graph: Graph) -> None:
        for slot, port in zip(node.inputs, graph.inputs, strict=True):
            self._show(slot, port, graph)

    def _show(self, slot: Slot, port: Port, graph: Graph) -> None:
        """Let ``slot`` show the first widget that the input of its subgraph leads to."""
        for link_id in port.links:
            for inner in _targets(graph, link_id):
                source = _widget_behind(inner, link_id)
                if source is not None:
                    slot.promoted = replace(source, name=slot.name)
                    return

    def apply_proxies(self, graph: Graph) -> None:
        """Apply the ``proxyWidgets`` of the instances in ``graph``."""
        for node in graph.nodes.values():
            if node.type in self._finished and "proxyWidgets" in node.properties:
                self._apply(node, list(_proxies(node)))

    def _apply(self, node: Node, proxies: list[tuple[str, str, Any]]) -> None:
        graph = self._subgraphs[node.type]
        primitives: dict[str, list[tuple[str, Any]]] = {}
        for source, name, value in proxies:
            slot = self._showing(node, graph, source, name)
            if slot is None and source not in graph.nodes:
                slot = next((slot for slot in node.inputs if source == "-1" and slot.name == name), None)
            elif slot is None and graph.nodes[source].type == PRIMITIVE:
                primitives.setdefault(source, []).append((name, value))
            elif slot is None:
                slot = self._with_new_input(node, graph, graph.nodes[source], name)
            _set(slot, value)
        for source, wanted in primitives.items():
            self._replace_primitive(node, graph, graph.nodes[source], wanted)

    @staticmethod
    def _showing(node: Node, graph: Graph, source: str, name: str) -> Slot | None:
        """The input of ``node`` that shows the widget ``name`` of the inner node ``source``."""
        for slot, port in zip(node.inputs, graph.inputs, strict=True):
            shown = [
                (inner.id, target.name if target.promoted is not None else target.widget)
                for link_id in port.links
                for inner in _targets(graph, link_id)
                for target in inner.inputs
                if target.link == link_id and (target.promoted is not None or target.widget is not None)
            ]
            if shown and shown[0] == (source, name):
                return slot
        return None

    def _with_new_input(self, node: Node, graph: Graph, source: Node, name: str) -> Slot | None:
        """The input that the editor adds for the widget ``name`` of ``source``; None if there is no such widget."""
        target = next((slot for slot in source.inputs if name in (slot.widget, slot.promoted and slot.name)), None)
        if target is None or name.startswith("$$"):
            return None
        self._add_input(graph, name, target.type, [(source, target)])
        return node.inputs[-1]

    def _replace_primitive(self, node: Node, graph: Graph, primitive: Node, wanted: list[tuple[str, Any]]) -> None:
        """Let an input of the subgraph take the place of a primitive."""
        links = primitive.outputs[0].links if primitive.outputs else []
        targets = [
            (inner, slot)
            for link_id in links
            for inner in _targets(graph, link_id)
            for slot in inner.inputs
            if slot.link == link_id
        ]
        taken = [_by_number(inner, slot, graph.links[slot.link]) for inner, slot in targets]
        kind = primitive.outputs[0].type if primitive.outputs else "*"
        can_join = all(slot is not None and (slot.type == kind or "*" in (slot.type, kind)) for slot in taken)
        if len({name for name, _ in wanted}) > 1 or not targets or not can_join:
            return
        for (inner, slot), other in zip(targets, taken, strict=True):
            if other is not slot:
                inner.misfits.append(
                    f"the editor gives {slot.name!r} the value of another widget, since the file shows the primitive "
                    f"{primitive.id} on the subgraph as older editors did"
                )
        title = primitive.title if primitive.title not in (None, PRIMITIVE) else None
        self._add_input(graph, title or wanted[0][0], kind, targets)
        primitive.outputs[0].links = []
        _set(node.inputs[-1], next((value for _, value in wanted if value is not MISSING), MISSING))

    def _add_input(self, graph: Graph, name: str, kind: Any, targets: list[tuple[Node, Slot]]) -> None:
        taken = {port.name for port in graph.inputs}
        unique = next(n for n in (name, *(f"{name}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)
        port = Port(unique, kind, [])
        for inner, slot in targets:
            link_id = f"added {len(graph.inputs)} {len(port.links)}"
            graph.links[link_id] = Link(INPUT_NODE, len(graph.inputs), inner.id, inner.inputs.index(slot))
            slot.link = link_id
            port.links.append(link_id)
        graph.inputs.append(port)
        for instance in self._nodes[graph.id]:
            instance.inputs.append(Slot(unique, kind))
            self._show(instance.inputs[-1], port, graph)


def _by_number(node: Node, slot: Slot, link: Link) -> Slot | None:
    """The input of ``node`` that the editor takes for ``slot``, since it goes by its number in the file.

    It is another one if the class has more inputs than the file. The number is right where inputs come and go.
    """
    if any("." in one.name for one in node.inputs):
        return slot
    return node.inputs[link.target_slot] if 0 <= link.target_slot < len(node.inputs) else None


def _targets(graph: Graph, link_id: Any) -> Iterator[Node]:
    link = graph.links.get(link_id)
    if link is not None and link.target in graph.nodes:
        yield graph.nodes[link.target]


def _widget_behind(node: Node, link_id: Any) -> Widget | None:
    """The widget of ``node`` that the link would replace."""
    slot = next((slot for slot in node.inputs if slot.link == link_id), None)
    if slot is None:
        return None
    if slot.promoted is not None:
        return slot.promoted
    return next((widget for widget in node.widgets if widget.name == slot.widget), None) if slot.widget else None


def _set(slot: Slot | None, value: Any) -> None:
    if slot is not None and slot.promoted is not None and value is not MISSING:
        slot.promoted.value = value


def _or_missing(value: Any) -> Any:
    return MISSING if value is None else value


def _proxies(node: Node) -> Iterator[tuple[str, str, Any]]:
    """Id of the inner node, name of its widget, and saved value of each promoted widget."""
    entries = _entries(node.properties["proxyWidgets"], node)
    saved = node.saved if isinstance(node.saved, list) else []
    for index, entry in enumerate(entries):
        value = _or_missing(saved[index]) if index < len(saved) else MISSING
        source, name = str(entry[0]), str(entry[1])
        prefixed = _PREFIX.fullmatch(name)
        yield source, prefixed[2] if prefixed else name, value


def _entries(raw: Any, node: Node) -> list[list[Any]]:
    try:
        entries = json.loads(raw) if isinstance(raw, str) else raw
    except ValueError:
        entries = None
    if isinstance(entries, list) and len(entries) <= _MOST and all(isinstance(e, list) and len(e) > 1 for e in entries):
        return entries
    raise InvalidJob(
        f"'workflow' is damaged: proxyWidgets of node {node.id[:100]} must be a list of node ids and names"
    )


def _set_aside(node: Node) -> Iterator[tuple[str, Any]]:
    """Values that a newer editor has kept by the name of the input, since it found no widget for them."""
    raw = node.properties.get("proxyWidgetErrorQuarantine")
    for entry in reversed(raw) if isinstance(raw, list) else ():
        if isinstance(entry, dict) and entry.get("hostValue") is not None:
            original = entry.get("originalEntry")
            if isinstance(original, list) and len(original) > 1 and str(original[0]) == "-1":
                yield str(original[1]), entry["hostValue"]
