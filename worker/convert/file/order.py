"""The order in which the editor goes through nodes and subgraphs."""

from __future__ import annotations

from collections import deque

from worker.convert.file.editor_file import Graph, Node


def execution_order(graph: Graph) -> list[Node]:
    """The nodes of a graph, each after those that it gets something from. Nodes in a circle come last."""
    waiting = {
        node.id: links for node in graph.nodes.values() if (links := sum(s.link is not None for s in node.inputs))
    }
    ready = deque(node for node in graph.nodes.values() if node.id not in waiting)
    ordered: dict[str, Node] = {}
    followed = set()
    while ready:
        node = ready.popleft()
        ordered[node.id] = node
        for link_id in [link_id for output in node.outputs for link_id in output.links]:
            link = graph.links.get(link_id)
            if link is not None and link_id not in followed and link.target in waiting:
                followed.add(link_id)
                waiting[link.target] -= 1
                if waiting[link.target] == 0:
                    ready.append(graph.nodes[link.target])
    return [*ordered.values(), *(node for node in graph.nodes.values() if node.id not in ordered)]


def layout_order(subgraphs: dict[str, Graph]) -> list[Graph]:
    """The definitions of subgraphs in the order in which the editor lays them out: each after those that it contains.

    If a graph contains two instances of one subgraph, the editor takes this for a circle, and keeps the file's order.
    """
    users: dict[str, set[str]] = {graph_id: set() for graph_id in subgraphs}
    missing = dict.fromkeys(subgraphs, 0)
    for graph in subgraphs.values():
        for node in graph.nodes.values():
            if node.type in subgraphs:
                users[node.type].add(graph.id)
                missing[graph.id] += 1
    ready = deque(graph_id for graph_id, count in missing.items() if count == 0)
    ordered = []
    while ready:
        graph_id = ready.popleft()
        ordered.append(subgraphs[graph_id])
        for user in users[graph_id]:
            missing[user] -= 1
            if missing[user] == 0:
                ready.append(user)
    return ordered if len(ordered) == len(subgraphs) else list(subgraphs.values())
