"""Lists the nodes of a workflow, in an order in which they can run."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from worker.convert.node.definitions import Definitions
from worker.job.job import Workflow
from worker.protocol.links import is_link
from worker.redact import encodable
from worker.workflows.address import Nodes


def nodes_of(workflow: Workflow, definitions: Definitions | None = None) -> list[dict[str, str]]:
    """The nodes of an API graph, each after those that it gets something from: ``node_id, class_type, title``."""
    nodes = Nodes(workflow, definitions)
    return [
        {
            "node_id": encodable(node_id),
            "class_type": encodable(workflow[node_id]["class_type"]),
            "title": encodable(nodes.title(node_id)),
        }
        for node_id in _order(workflow)
    ]


def _order(workflow: Workflow) -> list[str]:
    sources = {
        node_id: [value[0] for value in node["inputs"].values() if is_link(value) and value[0] in workflow]
        for node_id, node in workflow.items()
    }
    try:
        return list(TopologicalSorter(sources).static_order())
    except CycleError:
        return list(workflow)
