"""Gives nodes of subgraphs ids of their own, as the editor does when it opens a file.

The editor keeps the values of widgets by node id alone. So a node whose id the workflow or an earlier subgraph has
already gets the next free one, and all links and promoted widgets that name it follow. The ids of the API graph depend
on it.
"""

from __future__ import annotations

from worker.convert.file.editor_file import EditorFile, Graph, Node


def make_ids_unique(file: EditorFile) -> None:
    """Change the ids of nodes in ``file.subgraphs`` that are taken."""
    used = {node_id for node_id in file.root.nodes if node_id.isdecimal()}
    renamed: dict[str, dict[str, str]] = {}
    last = file.last_id
    for graph in file.subgraphs.values():
        names: dict[str, str] = {}
        for node_id in graph.nodes:
            if node_id in used:
                last += 1
                while str(last) in used:
                    last += 1
                names[node_id] = str(last)
            elif node_id.isdecimal():
                last = max(last, int(node_id))
            used.add(names.get(node_id, node_id))
        if names:
            renamed[graph.id] = names
            _rename(graph, names)
    file.last_id = last
    for graph in (file.root, *file.subgraphs.values()):
        for node in graph.nodes.values():
            if node.type in renamed:
                _rename_promoted(node, renamed[node.type])


def _rename(graph: Graph, names: dict[str, str]) -> None:
    nodes = list(graph.nodes.values())
    for node in nodes:
        node.id = names.get(node.id, node.id)
    graph.nodes = {node.id: node for node in nodes}
    for link in graph.links.values():
        link.origin = names.get(link.origin, link.origin)
        link.target = names.get(link.target, link.target)


def _rename_promoted(instance: Node, names: dict[str, str]) -> None:
    promoted = instance.properties.get("proxyWidgets")
    if isinstance(promoted, list):
        instance.properties["proxyWidgets"] = [
            [names.get(str(entry[0]), entry[0]), *entry[1:]] if isinstance(entry, list) and entry else entry
            for entry in promoted
        ]
