"""Links between the nodes of a graph in ComfyUI's API format, and what is wrong with those that lead nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from worker.protocol.installed import Installed, declared_inputs
from worker.redact import listed

_LONGEST, _MOST_NAMES = 60, 8
_RULE = 'a link is ["node id", number of the output], such as ["1", 0]'


def is_link(value: Any) -> bool:
    """Whether the value of an input is a link, ``[node id, index of its output]``."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def broken_links(node_id: str, workflow: Mapping[str, Any], installed: Installed) -> Iterator[tuple[str, str]]:
    """The name of each input of a node whose link leads nowhere, and what is wrong with the link.

    ComfyUI takes every list for a link. Of inputs that the node's class does not declare, it reads none.
    """
    node = workflow[node_id]
    declared = declared_inputs(installed.inputs_of(node["class_type"]))
    for name, value in node["inputs"].items():
        # Inputs that grow have a dot in their names, after the name of what declares them.
        if isinstance(value, list) and (not declared or name in declared or name.split(".")[0] in declared):
            problem = _problem(value, workflow, installed)
            if problem:
                yield name, problem


def unchecked_links(workflow: Mapping[str, Any], installed: Installed) -> Iterator[str]:
    """A line for each link to a node that is not there, in an input that ComfyUI's validation does not look at.

    The class does not declare these inputs. ComfyUI follows their links all the same when it runs the graph, and its
    executor breaks outside of any node. A ComfyUI server runs no other graph after that.
    """
    lost = [
        (node_id, name, value[0])
        for node_id, node in workflow.items()
        for name, value in node["inputs"].items()
        if _is_followed(value) and value[0] not in workflow
    ]
    outputs = [node_id for node_id, node in workflow.items() if installed.is_output(node["class_type"])] if lost else []
    needed = set(needed_nodes(workflow, outputs))
    for node_id, name, source in lost:
        class_type = workflow[node_id]["class_type"]
        if node_id in needed and name not in declared_inputs(installed.inputs_of(class_type)):
            yield f"Node {node_id} ({class_type}) {name}: {missing_source(source)}"


def _is_followed(value: Any) -> bool:
    """Whether ComfyUI takes a value for a link when it runs a graph."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], int | float)


def needed_nodes(workflow: Mapping[str, Any], outputs: Iterable[str]) -> list[str]:
    """The ids of ``outputs`` and of all nodes that they need, in the order in which ComfyUI finds them."""
    found: dict[str, None] = {}
    for output in outputs:
        waiting = [output]
        while waiting:
            node_id = waiting.pop()
            if node_id not in found:
                found[node_id] = None
                waiting += sources_of(workflow[node_id], workflow)
    return list(found)


def sources_of(node: Mapping[str, Any], workflow: Mapping[str, Any]) -> list[str]:
    """The ids of the nodes of ``workflow`` that ``node`` is linked to, in the order of its inputs."""
    return [value[0] for value in node["inputs"].values() if _is_followed(value) and value[0] in workflow]


def _problem(value: list[Any], workflow: Mapping[str, Any], installed: Installed) -> str | None:
    if len(value) != 2:
        return f'{shown(value)} is no link: {_RULE}. A list that is a value is written {{"__value__": [...]}}'
    source, index = value
    if not isinstance(source, str):
        return f"{shown(value)} is no link: {_RULE}. The node id must be a string"
    if not isinstance(index, int):
        return f"{shown(value)} is no link: {_RULE}. The output must be a whole number, without quotes"
    if source not in workflow:
        return missing_source(source)
    outputs = installed.outputs_of(workflow[source]["class_type"])
    if outputs is None or -len(outputs) <= index < len(outputs):
        return None
    return f"linked to output {index} of node {source} ({workflow[source]['class_type']}), which has {_named(outputs)}"


def missing_source(node_id: str) -> str:
    """What is wrong with a link to a node that the graph does not have."""
    return f"linked to node {node_id}, which is not there"


def _named(outputs: Sequence[str]) -> str:
    names = listed(outputs, _MOST_NAMES)
    if not outputs:
        return "no outputs"
    return f"only output 0 ({names})" if len(outputs) == 1 else f"outputs 0 to {len(outputs) - 1} ({names})"


def shown(value: Any) -> str:
    """A value of a request in a message: as JSON, and short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
