"""Says what a node class is that ComfyUI does not have: something of the editor only, or a class of a node pack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from worker.protocol.installed import Installed
from worker.protocol.origins import NOT_INSTALLED, Origins, with_pack

_SUBGRAPH = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_GROUP_NODE = re.compile(r"workflows?[>/].")
_VALUE, _TEXT, _WIRE = "which only holds a value for other nodes", "which only holds a note", "which only guides a link"
_SWITCH = "which only changes other nodes while somebody edits"
# Of the editor itself and of widely used packs. None of them has a class that ComfyUI could run.
OF_THE_EDITOR = {
    "Reroute": _WIRE, "PrimitiveNode": _VALUE, "Note": _TEXT, "MarkdownNote": _TEXT,
    "SetNode": _WIRE, "GetNode": _WIRE, "easy setNode": _WIRE, "easy getNode": _WIRE, "ReroutePrimitive|pysssss": _WIRE,
    "Label (rgthree)": _TEXT, "Bookmark (rgthree)": _SWITCH, "Reroute (rgthree)": _WIRE,
    "Node Collector (rgthree)": _WIRE, "Fast Muter (rgthree)": _SWITCH, "Fast Bypasser (rgthree)": _SWITCH,
    "Fast Groups Muter (rgthree)": _SWITCH, "Fast Groups Bypasser (rgthree)": _SWITCH,
    "Mute / Bypass Relay (rgthree)": _SWITCH, "Mute / Bypass Repeater (rgthree)": _SWITCH,
    "Fast Actions Button (rgthree)": _SWITCH, "Random Unmuter (rgthree)": _SWITCH,
}  # fmt: skip
HOW_TO_EXPORT = "Workflow > Export (API), in newer versions File > Export (API)"


def of_the_editor(class_type: str) -> str | None:
    """What ``class_type`` is, if ComfyUI's editor has it and ComfyUI itself never does; otherwise None."""
    if _SUBGRAPH.fullmatch(class_type):
        what = "this is a subgraph, which only the editor has"
    elif _GROUP_NODE.match(class_type):
        what = "this is a group node, which only the editor has"
    elif class_type in OF_THE_EDITOR:
        what = f"this is a node of the editor, {OF_THE_EDITOR[class_type]}"
    else:
        return None
    return f"{what}; an export in the API format replaces it by what it stands for: {HOW_TO_EXPORT}"


def why_not_there(class_type: str, installed: Installed) -> str | None:
    """Why ComfyUI does not have a node class; None if it has it."""
    if installed.has_node_class(class_type):
        return None
    if reason := of_the_editor(class_type) or installed.why_missing(class_type):
        return reason
    packs = installed.listed_packs(class_type)
    return f"{NOT_INSTALLED}: {packs}" if packs else NOT_INSTALLED


def missing_classes(workflow: Mapping[str, Any], installed: Installed, origins: Origins) -> Iterator[str]:
    """A line for each node of ``workflow`` whose class ComfyUI does not have. ``origins``: what the caller says."""
    reasons = {name: why_not_there(name, installed) for name in {node["class_type"] for node in workflow.values()}}
    for node_id, node in workflow.items():
        if reason := reasons[node["class_type"]]:
            yield f"Node {node_id} ({node['class_type']}): {with_pack(reason, origins.of_class(node['class_type']))}"
