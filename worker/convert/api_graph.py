"""Converts a workflow of the editor, stage by stage."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from worker.convert.file.editor_file import EditorFile, Graph, Node, read_editor_file
from worker.convert.file.group_nodes import expand_group_nodes
from worker.convert.file.order import execution_order, layout_order
from worker.convert.file.unique_ids import make_ids_unique
from worker.convert.handles import Handle, Handles
from worker.convert.link.primitives import apply_primitives
from worker.convert.link.promoted import Instances
from worker.convert.link.sources import Scope, source_of
from worker.convert.link.virtual import is_virtual
from worker.convert.node.definitions import Definitions
from worker.convert.node.dynamic_prompts import Choose, resolve
from worker.convert.node.fit import misfits
from worker.convert.node.layout import lay_out
from worker.convert.node.widgets import MISSING, Widget, api_value
from worker.convert.refusals import refuse_misfits
from worker.errors import InvalidJob
from worker.protocol.links import shown


def to_api_graph(
    workflow: Mapping[str, Any], definitions: Definitions, choose: Choose = random.choice
) -> dict[str, Any]:
    """The API graph that ``convert`` makes. The arguments are the same."""
    return convert(workflow, definitions, choose)[0]


def convert(
    workflow: Mapping[str, Any], definitions: Definitions, choose: Choose = random.choice
) -> tuple[dict[str, Any], tuple[Handle, ...]]:
    """The API graph ``{node id: {class_type, inputs, _meta}}`` that the editor's page would send for ``workflow``.

    The second value is what the editor shows for inputs of this graph on nodes that are not in it.

    Args:
        workflow: a workflow of the editor, which is not changed.
        definitions: the node classes of the ComfyUI that is to run it.
        choose: takes one of the choices of a dynamic prompt.

    Raises:
        InvalidJob: the file is damaged.
        WorkflowRejected: nodes do not fit their classes here, or their classes are not there.
    """
    file = read_editor_file(workflow)
    make_ids_unique(file)
    expand_group_nodes(file, definitions)
    whole = _scope(file, file.root)
    _lay_out(file, definitions)
    places = list(_places(file, whole, execution_order(file.root)))
    for scope, node in places:
        apply_primitives(scope.graph, [node])
    sent = [
        (scope, node) for scope, node in places if not (node.is_off or is_virtual(node) or node.type in file.subgraphs)
    ]
    handles = Handles()
    graph = {scope.api_id(node): _api_node(scope, node, definitions, choose, handles) for scope, node in sent}
    handles.add_primitives(places)
    refuse_misfits(places, graph, definitions)
    _drop_lost_links(graph)
    return dict(sorted(graph.items(), key=_as_javascript)), handles.of(graph)


def _as_javascript(item: tuple[str, Any]) -> tuple[bool, int]:
    """JavaScript keeps names that are numbers before all others, and in their order."""
    return (False, int(item[0])) if item[0].isdecimal() else (True, 0)


def _lay_out(file: EditorFile, definitions: Definitions) -> None:
    """Give each node its widgets and inputs, inner subgraphs first: what they show depends on it."""
    instances = Instances(file.subgraphs)
    for graph in (*layout_order(file.subgraphs), file.root):
        if graph.id not in file.used and graph is not file.root:
            continue
        for node in graph.nodes.values():
            if node.type in file.subgraphs:
                instances.lay_out(node)
            elif (definition := definitions.find(node.type)) is not None:
                node.misfits += misfits(node, lay_out(node, definition))
        instances.apply_proxies(graph)
        instances.finish(graph)


def _scope(file: EditorFile, graph: Graph, instance: Node | None = None, outer: Scope | None = None) -> Scope:
    """The instances of subgraphs in ``graph``, one within the other.

    Raises:
        InvalidJob: a subgraph contains itself, or there are too many nodes.
    """
    path = (*outer.path, instance.id) if outer is not None and instance is not None else ()
    scope = Scope(graph, path, instance, outer)
    file.count(len(graph.nodes))
    around = outer
    while around is not None:
        if around.graph is graph:
            raise InvalidJob(f"'workflow' is damaged: the subgraph {shown(graph.name)} contains itself")
        around = around.outer
    for node in graph.nodes.values():
        if node.type in file.subgraphs:
            file.used.add(node.type)
            scope.inner[node.id] = _scope(file, file.subgraphs[node.type], node, scope)
    return scope


def _places(file: EditorFile, scope: Scope, nodes: list[Node]) -> Iterator[tuple[Scope, Node]]:
    """All nodes in the order of the API graph, each with the graph that it is in. What is in a subgraph follows it."""
    for node in nodes:
        yield scope, node
        if node.id in scope.inner and not (scope.outer is None and node.is_off):
            inner = scope.inner[node.id]
            yield from _places(file, inner, list(inner.graph.nodes.values()))


def _api_node(scope: Scope, node: Node, definitions: Definitions, choose: Choose, handles: Handles) -> dict[str, Any]:
    definition = definitions.find(node.type)
    inputs = {
        widget.name: api_value(_resolved(widget, choose), widget.spec)
        for widget in node.widgets
        if widget.is_sent and widget.value is not MISSING
    }
    for slot in node.inputs:
        found = source_of(scope, node, slot)
        if isinstance(found, Widget):
            inputs[slot.name] = api_value(found.value, found.spec)
            handles.add_promoted(scope, found, (scope.api_id(node), slot.name))
        elif found is not None:
            inputs[slot.name] = list(found)
    title = node.title or (definition.title if definition is not None else node.type)
    return {"inputs": inputs, "class_type": node.type, "_meta": {"title": title}}


def _resolved(widget: Widget, choose: Choose) -> Any:
    is_dynamic = widget.spec.options.get("dynamicPrompts") is True and isinstance(widget.value, str)
    return resolve(widget.value, choose) if is_dynamic else widget.value


def _drop_lost_links(graph: dict[str, Any]) -> None:
    for node in graph.values():
        lost = [name for name, value in node["inputs"].items() if isinstance(value, list) and value[0] not in graph]
        for name in lost:
            del node["inputs"][name]
