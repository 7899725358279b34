"""Replaces group nodes, which older editors had, by subgraphs, as newer editors do when they open such a file.

``extra.groupNodes`` has the nodes of each group by its name, and the type of a group node is ``workflow>NAME``. It has
the widgets and the inputs that nothing within the group is linked to, and the outputs that nothing within uses. Its
``widgets_values`` are those of all these widgets, node by node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.convert.file.editor_file import INPUT_NODE, EditorFile, Graph, Link, Node, Output, Port, Slot
from worker.convert.node.definitions import Definition, Definitions, Spec
from worker.convert.node.widgets import DYNAMIC_COMBO, has_widget, widgets_of

_TYPE = re.compile(r"workflows?[>/](.+)", re.DOTALL)


class _CannotExpand(Exception):
    """The text says why a group node cannot be replaced."""


def expand_group_nodes(file: EditorFile, definitions: Definitions) -> None:
    """Replace each group node of the workflow. One that cannot be replaced keeps the reason among its misfits."""
    for node in list(file.root.nodes.values()):
        name = _TYPE.fullmatch(node.type)
        group = file.group_nodes.get(name[1]) if name else None
        if isinstance(group, Mapping):
            nodes = group.get("nodes")
            file.count(len(nodes) if isinstance(nodes, list) else 0)
            try:
                _replace(file, node, _Group(group, definitions))
            except _CannotExpand as error:
                node.misfits.append(f"this group node cannot be converted, since {error}")
            except (LookupError, TypeError, ValueError, AttributeError):
                node.misfits.append("this group node cannot be converted, since its definition is damaged")


@dataclass
class _Group:
    """The definition of a group. ``shown``: the inputs of its nodes that it has itself, by their names on it."""

    raw: Mapping[str, Any]
    definitions: Definitions
    shown: dict[str, tuple[int, Spec]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes: list[Mapping[str, Any]] = list(self.raw["nodes"])
        ends = [link[:4] for link in self.raw["links"]]
        self.links = [(int(a), int(b), int(c), int(d)) for a, b, c, d in ends if None not in (a, b, c, d)]
        self.outside = {(int(index), int(slot)) for index, slot, *_ in self.raw.get("external") or ()}
        self.defined = [self._definition(str(node["type"])) for node in self.nodes]
        self._seen: dict[str, int] = {}
        for index, definition in enumerate(self.defined):
            self._show(index, definition)

    def _definition(self, class_type: str) -> Definition:
        definition = self.definitions.find(class_type)
        if definition is None:
            raise _CannotExpand(f"it has a node of the class {class_type!r}")
        if any(spec.is_listed and has_widget(spec) for spec in definition.as_declared):
            raise _CannotExpand(
                f"newer editors shift its values: {class_type} has choices that they take for inputs there"
            )
        if len(definition.inputs) != len(definition.as_declared) or any(map(_grows, definition.as_declared)):
            raise _CannotExpand(f"the editor draws more for {class_type} than the class declares")
        return definition

    def _show(self, index: int, definition: Definition) -> None:
        linked = {slot for _, _, target, slot in self.links if target == index}
        widgets = [spec for spec in definition.as_declared if has_widget(spec)]
        sockets = [spec for spec in definition.as_declared if not has_widget(spec)]
        as_input = {slot.get("name") for slot in self.nodes[index].get("inputs") or () if slot.get("widget")}
        if as_input & {spec.name for spec in widgets} or any(slot >= len(sockets) for slot in linked):
            raise _CannotExpand(f"{definition.name} has a widget that was made an input")
        for spec in (*widgets, *(spec for slot, spec in enumerate(sockets) if slot not in linked)):
            self.shown[self._name(index, spec)] = index, spec

    def _name(self, index: int, spec: Spec) -> str:
        """The name of an input on the group node: its own, with its node's before it if the name is taken."""
        node = self.nodes[index]
        labels = (slot.get("label") for slot in node.get("inputs") or () if slot.get("name") == spec.name)
        own = self._configured(index, "input", spec.name).get("name")
        name = key = str(own or next(labels, None) or spec.name)
        if name in self._seen:
            prefix = f"{node.get('title') or node['type']} "
            name = key = f"{prefix}{spec.name}"
            if name in self._seen:
                name = f"{prefix}{self._seen[name]} {spec.name}"
        self._seen[key] = self._seen.get(key, 1) + 1
        return name

    def _configured(self, index: int, side: str, key: Any) -> Mapping[str, Any]:
        found = ((self.raw.get("config") or {}).get(str(index)) or {}).get(side) or {}
        return found.get(str(key)) or {}

    def outputs(self) -> Iterator[tuple[int, int]]:
        """The node and the index of each output that the group node has."""
        used = {(source, slot) for source, slot, _, _ in self.links} - self.outside
        for index, definition in enumerate(self.defined):
            for slot in range(len(definition.outputs)):
                if self._configured(index, "output", slot).get("visible", (index, slot) not in used):
                    yield index, slot

    def values(self, saved: Any) -> list[dict[str, Any]]:
        """The values that a group node has for the widgets of each of its nodes, by name."""
        left = list(saved) if isinstance(saved, list) else []
        given: list[dict[str, Any]] = [{} for _ in self.nodes]
        for index, spec in self.shown.values():
            for widget in widgets_of(spec) if has_widget(spec) else ():
                if left:
                    given[index][widget.name] = left.pop(0)
        if left:
            raise _CannotExpand(f"it has {len(left)} values more than widgets")
        return given


def _grows(spec: Spec) -> bool:
    return spec.type == DYNAMIC_COMBO or (spec.type.startswith("COMFY_") and spec.type.endswith("_V3"))


def _replace(file: EditorFile, node: Node, group: _Group) -> None:
    if node.is_off:
        raise _CannotExpand("newer editors turn it on: it is muted or bypassed")
    values = group.values(node.saved)
    first = file.last_id + 1
    file.last_id += len(group.nodes) + 1
    inner = [
        Node(
            str(first + index), definition.name, _title(raw), int(raw.get("mode") or 0),
            [Slot(spec.name, spec.type) for spec in definition.as_declared if not has_widget(spec)],
            [Output(kind, []) for kind in definition.outputs],
            raw.get("widgets_values"), {}, overrides=values[index],
        )
        for index, (raw, definition) in enumerate(zip(group.nodes, group.defined, strict=True))
    ]  # fmt: skip
    graph = Graph(f"group {first}", str(node.title or node.type), {one.id: one for one in inner}, {})
    for number, (source, output, target, slot) in enumerate(group.links):
        graph.links[number] = Link(inner[source].id, output, inner[target].id, slot)
        inner[target].inputs[slot].link = number
        inner[source].outputs[output].links.append(number)
    instance = Node(str(file.last_id), graph.id, node.title, 0, [], [], None, {})
    for outer in node.inputs:
        if outer.link is not None:
            _add_input(graph, instance, outer, group, inner)
    for index, slot in group.outputs():
        place = len(graph.outputs)
        graph.links[f"out {place}"] = Link(inner[index].id, slot, "-20", place)
        graph.outputs.append(Port(str(place), inner[index].outputs[slot].type, [f"out {place}"]))
        links = node.outputs[place].links if place < len(node.outputs) else []
        instance.outputs.append(Output(graph.outputs[-1].type, links))
    _put_in_place(file, node, instance, graph)


def _add_input(graph: Graph, instance: Node, outer: Slot, group: _Group, inner: list[Node]) -> None:
    if outer.name not in group.shown:
        raise _CannotExpand(f"its input {outer.name!r} is none of its nodes'")
    index, spec = group.shown[outer.name]
    slot = next((slot for slot in inner[index].inputs if slot.name == spec.name), None)
    if slot is None:
        raise _CannotExpand(f"its widget {outer.name!r} was made an input")
    slot.link = f"in {len(graph.inputs)}"
    graph.links[slot.link] = Link(INPUT_NODE, len(graph.inputs), inner[index].id, 0)
    graph.inputs.append(Port(outer.name, spec.type, [slot.link]))
    instance.inputs.append(Slot(outer.name, spec.type, outer.link))


def _title(raw: Mapping[str, Any]) -> str | None:
    title = raw.get("title")
    return title if isinstance(title, str) and title else None


def _put_in_place(file: EditorFile, node: Node, instance: Node, graph: Graph) -> None:
    file.subgraphs[graph.id] = graph
    del file.root.nodes[node.id]
    file.root.nodes[instance.id] = instance
    for link in file.root.links.values():
        link.origin = instance.id if link.origin == node.id else link.origin
        link.target = instance.id if link.target == node.id else link.target
