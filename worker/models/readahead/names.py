"""Finds the model files that a workflow names, in the order in which ComfyUI comes to the nodes that name them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.models.references import MODEL_ENDINGS
from worker.protocol.links import needed_nodes, sources_of

_LONGEST = 1024  # Characters of a name. Prompts of callers may have millions.
_MOST_NAMES = 200
Workflow = Mapping[str, Any]


@dataclass(frozen=True)
class NamedModel:
    """What an input of a node names, if it names a model file."""

    node_id: str
    class_type: str
    input_name: str
    name: str


def named_models(workflow: Workflow) -> list[NamedModel]:
    """What may be names of model files, in the order of the nodes; at most 200."""
    found: list[NamedModel] = []
    for node_id, node in workflow.items():
        for input_name, value in node["inputs"].items():
            if isinstance(value, str) and len(value) <= _LONGEST and value.lower().endswith(MODEL_ENDINGS):
                found.append(NamedModel(node_id, node["class_type"], input_name, value))
    return found[:_MOST_NAMES]


def in_order_of_need(named: Sequence[NamedModel], workflow: Workflow, outputs: Sequence[str]) -> list[NamedModel]:
    """``named`` in the order in which ComfyUI runs their nodes. Nodes that no output needs are left out.

    ``outputs``: ids of the nodes that save or show something, in the order of the workflow.
    """
    place = {node_id: index for index, node_id in enumerate(_order_of_runs(workflow, outputs))}
    return sorted((each for each in named if each.node_id in place), key=lambda each: place[each.node_id])


def last_nodes(workflow: Workflow) -> list[str]:
    """Ids of the nodes whose outputs no node uses."""
    used = {needed for node in workflow.values() for needed in sources_of(node, workflow)}
    return [node_id for node_id in workflow if node_id not in used]


def _order_of_runs(workflow: Workflow, outputs: Sequence[str]) -> Iterator[str]:
    """The ids of the nodes that run, as ComfyUI's ``ExecutionList`` picks them, but for lazy inputs and async nodes.

    Of the nodes that can run, it picks an output, then one that an output needs, then one that such a node needs, and
    otherwise the one that it has found first.
    """
    found = needed_nodes(workflow, outputs)
    needs = {node_id: set(sources_of(workflow[node_id], workflow)) for node_id in found}
    users: dict[str, list[str]] = {node_id: [] for node_id in found}
    for node_id, its_needs in needs.items():
        for needed in its_needs:
            users[needed].append(node_id)
    ends = set(outputs)
    before_ends = {node_id for node_id in found if not ends.isdisjoint(users[node_id])}
    position = {node_id: index for index, node_id in enumerate(found)}

    def turn(node_id: str) -> tuple[int, int, str]:
        ranks = (node_id in ends, node_id in before_ends, not before_ends.isdisjoint(users[node_id]), True)
        return ranks.index(True), position[node_id], node_id

    ready = [turn(node_id) for node_id in found if not needs[node_id]]
    heapq.heapify(ready)
    while ready:
        node_id = heapq.heappop(ready)[-1]
        yield node_id
        for user in users[node_id]:
            needs[user].discard(node_id)
            if not needs[user]:
                heapq.heappush(ready, turn(user))
