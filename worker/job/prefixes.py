"""Expands dates and values of other nodes in ``filename_prefix``, as ComfyUI's editor does before it sends a graph.

The editor's rules are in its files ``searchAndReplace.ts`` and ``formatUtil.ts``. It applies them to a list of save
nodes that differs between its versions, and scripts of node packs apply them to their own. So here they hold for the
``filename_prefix`` of every node. ComfyUI itself expands ``%width%``, ``%year%`` and others when it saves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from worker.events import title_of
from worker.job.job import Workflow

_INPUT = "filename_prefix"
_LONGEST = 4096  # Characters of a prefix or of a value: no path is longer.
_TOKEN = re.compile("%([^%]+)%")
_DATE_PART = re.compile("dd?|MM?|hh?|mm?|ss?|yyy?y?")
_NO_NAME = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')  # What the editor replaces, since names of files cannot have it.


def local_time() -> datetime:
    """The time now, in the zone of this machine."""
    return datetime.now().astimezone()


def expand_prefixes(
    workflow: Workflow, extra_pnginfo: Mapping[str, Any] | None, clock: Callable[[], datetime] = local_time
) -> Workflow:
    """``workflow`` with ``%date:yyyy-MM-dd%`` and ``%Node.widget%`` expanded in every ``filename_prefix``.

    What names no node or no widget stays as it is. ``workflow`` itself is not changed.

    Args:
        workflow: a graph in ComfyUI's API format.
        extra_pnginfo: its ``workflow`` is the editor's own form of the graph, which may have other names of nodes.
        clock: returns the time for dates, in the zone that they are meant in. It is asked only if there is one.
    """
    prefixes = {
        node_id: prefix
        for node_id, node in workflow.items()
        if isinstance(prefix := node["inputs"].get(_INPUT), str) and len(prefix) <= _LONGEST and _TOKEN.search(prefix)
    }
    if not prefixes:
        return workflow
    inputs_of, now = _inputs_by_name(workflow, extra_pnginfo), clock()
    changed = {}
    for node_id, prefix in prefixes.items():
        expanded = _TOKEN.sub(lambda token: _expanded(token, inputs_of, now), prefix)
        node = workflow[node_id]
        changed[node_id] = {**node, "inputs": {**node["inputs"], _INPUT: expanded}}
    return {**workflow, **changed}


def _expanded(token: re.Match[str], inputs_of: Mapping[str, Mapping[str, Any]], now: datetime) -> str:
    """What replaces ``token``."""
    name, *rest = token[1].split(".")
    if len(rest) != 1:  # So a date with points between its parts ends at the first one, as in the editor.
        if name.startswith("date:"):
            return _DATE_PART.sub(lambda part: _date_part(part[0], now), name.removeprefix("date:"))
        return token[0]
    inputs = inputs_of.get(name, {})
    value = _shown(inputs[rest[0]]) if rest[0] in inputs else None
    return token[0] if value is None or len(value) > _LONGEST else _NO_NAME.sub("_", value)


def _date_part(part: str, now: datetime) -> str:
    if part[0] == "y":
        return {"yy": f"{now.year:04}"[2:], "yyyy": f"{now.year:04}"}.get(part, part)
    value = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}[part[0]]
    return str(value).zfill(len(part))


def _inputs_by_name(workflow: Workflow, extra_pnginfo: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """The inputs of the first node of each name: its name for search and replace, which comes first, or its title."""
    in_editor = dict(_names_in_editor(extra_pnginfo))
    titles: dict[str, Mapping[str, Any]] = {}
    names: dict[str, Mapping[str, Any]] = {}
    for node_id, node in workflow.items():
        if (title := title_of(node)) is not None:
            titles.setdefault(title, node["inputs"])
        names.setdefault(in_editor.get(node_id, node["class_type"]), node["inputs"])
    return titles | names


def _names_in_editor(extra_pnginfo: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """The names for search and replace that the editor's own form of the graph has, by node id."""
    graph = (extra_pnginfo or {}).get("workflow")
    nodes = graph.get("nodes") if isinstance(graph, Mapping) else None
    for node in nodes if isinstance(nodes, list) else ():
        properties = node.get("properties") if isinstance(node, Mapping) else None
        name = properties.get("Node name for S&R") if isinstance(properties, Mapping) else None
        if isinstance(name, str):
            yield str(node.get("id")), name


def _shown(value: Any) -> str | None:
    """``value`` as JavaScript writes it; None if it is a link or another value that no name should have."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
        return f"{Decimal(repr(value)):f}" if 1e-6 <= abs(value) < 1e21 else repr(value).replace("e-0", "e-")
    return str(value) if isinstance(value, str | int) else None
