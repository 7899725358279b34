"""Links between the nodes of a graph in ComfyUI's API format, and what is wrong with those that lead nowhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.protocol.installed import Installed, declared_inputs

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


def _problem(value: list[Any], workflow: Mapping[str, Any], installed: Installed) -> str | None:
    if len(value) != 2:
        return f'{_shown(value)} is no link: {_RULE}. A list that is a value is written {{"__value__": [...]}}'
    source, index = value
    if not isinstance(source, str):
        return f"{_shown(value)} is no link: {_RULE}. The node id must be a string"
    if not isinstance(index, int):
        return f"{_shown(value)} is no link: {_RULE}. The output must be a whole number, without quotes"
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
    names = ", ".join(outputs[:_MOST_NAMES]) + (", …" if len(outputs) > _MOST_NAMES else "")
    if not outputs:
        return "no outputs"
    return f"only output 0 ({names})" if len(outputs) == 1 else f"outputs 0 to {len(outputs) - 1} ({names})"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
