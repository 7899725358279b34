"""Reads what a workflow needs: of the editor with all subgraphs that it uses, or an API graph."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from worker.convert.file.editor_file import BYPASSED, MUTED, is_editor_format
from worker.environment.needs import ModelNeed, Needs, PackNeed, as_numbers
from worker.models.references import MODEL_ENDINGS
from worker.protocol.missing_classes import OF_THE_EDITOR, of_the_editor
from worker.protocol.origins import named_pack

_CORE = "comfy-core"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_LONGEST_NAME = 1024
Node = Mapping[str, Any]


def workflow_needs(workflow: Mapping[str, Any], source: str) -> Needs:
    """What ``workflow`` needs. ``source``: its name for a person. Nodes that are muted or bypassed need nothing."""
    nodes = list(_editor_nodes(workflow) if is_editor_format(workflow) else _api_nodes(workflow))
    needs = Needs()
    listed = [(source, entry) for entry in _list(workflow.get("models"))]
    listed += [
        (f"{source}, {_label(node)}", entry) for node in nodes for entry in _list(_properties(node).get("models"))
    ]
    names = {(name, f"{source}, {_label(node)}") for node in nodes for name in _model_names(node)}
    needs.models = _models(listed, sorted(names))
    needs.packs = list(_packs(nodes, source))
    needs.comfyui = sorted({version for node in nodes if (version := _core_version(node))})
    for node in nodes:
        kind = str(node.get("type"))
        if "cnr_id" not in _properties(node) and "aux_id" not in _properties(node) and not of_the_editor(kind):
            needs.classes.setdefault(kind, f"{source}, {_label(node)}")
    return needs


def listed_models(entries: Any, source: str) -> list[ModelNeed]:
    """The models of a list ``[{url, directory, name, …}]``, as requests and workflows have it."""
    return [need for entry in _list(entries) if (need := _model(entry, source)) is not None]


def _editor_nodes(workflow: Mapping[str, Any]) -> Iterator[Node]:
    """The nodes that are on, those in subgraphs once for each definition."""
    definitions = dict(_subgraphs(workflow, 0))
    waiting, seen = [workflow], set()
    while waiting:
        for node in _list(waiting.pop().get("nodes")):
            if not isinstance(node, Mapping) or node.get("mode") in (MUTED, BYPASSED):
                continue
            kind = str(node.get("type"))
            if kind not in definitions:
                yield node
            elif kind not in seen:
                seen.add(kind)
                waiting.append(definitions[kind])
                yield node  # An instance may have values and models of its own.


def _subgraphs(container: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    definitions = container.get("definitions")
    for graph in _list(definitions.get("subgraphs")) if isinstance(definitions, Mapping) and depth < 100 else ():
        if isinstance(graph, Mapping):
            yield str(graph.get("id")), graph
            yield from _subgraphs(graph, depth + 1)


def _api_nodes(workflow: Mapping[str, Any]) -> Iterator[Node]:
    """The nodes of an API graph, as the editor would write what is of interest here."""
    for node_id, node in workflow.items():
        if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping):
            meta = node.get("_meta")
            properties = meta.get("properties") if isinstance(meta, Mapping) else None
            yield {
                "id": node_id,
                "type": node.get("class_type"),
                "widgets_values": node["inputs"],
                "properties": properties if isinstance(properties, Mapping) else {},
            }


def _models(listed: list[tuple[str, Any]], names: list[tuple[str, str]]) -> list[ModelNeed]:
    """The models that are listed, by the names that nodes ask for; then those that no list has."""
    asked: dict[str, list[str]] = {}
    for name, _ in names:
        asked.setdefault(_last(name), []).append(name)
    found: dict[tuple[str | None, str], ModelNeed] = {}
    for where, entry in listed:
        need = _model(entry, where)
        if need is None:
            continue
        for name in dict.fromkeys(asked.get(_last(need.name), [need.name])):
            own = ModelNeed(name, need.directory, need.url, need.sha256, where)
            found.setdefault((need.directory, name), own)
    have = {_last(name) for _, name in found}
    for name, where in names:
        if _last(name) not in have:
            found.setdefault((None, name), ModelNeed(name, where=where))
    return list(found.values())


def _model(entry: Any, where: str) -> ModelNeed | None:
    if not isinstance(entry, Mapping):
        return None
    name, directory, url = (entry.get(key) for key in ("name", "directory", "url"))
    if not isinstance(name, str) or not name:
        return None
    given = entry.get("sha256") or (
        entry.get("hash") if str(entry.get("hash_type", "")).upper().replace("-", "") == "SHA256" else None
    )
    is_hash = isinstance(given, str) and _SHA256.fullmatch(given)
    return ModelNeed(
        name,
        directory if isinstance(directory, str) and directory else None,
        url if isinstance(url, str) and url else None,
        str(given).lower() if is_hash else None,
        where,
    )


def _model_names(node: Node) -> Iterator[str]:
    """The texts among a node's values that look like a model file's name."""
    if str(node.get("type")) in OF_THE_EDITOR:
        return
    values = node.get("widgets_values")
    for value in values.values() if isinstance(values, Mapping) else _list(values):
        if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME:
            continue
        if value.lower().endswith(MODEL_ENDINGS) and value.isprintable() and "://" not in value:
            yield value


def _packs(nodes: list[Node], source: str) -> Iterator[PackNeed]:
    """Each pack once, in the newest version that a node names."""
    found: dict[str, tuple[PackNeed, int]] = {}
    for node in nodes:
        need = _pack(_properties(node), f"{source}, {_label(node)}")
        if need is None:
            continue
        kept, count = found.get(need.name.lower(), (need, 0))
        newer = as_numbers(need.version) > as_numbers(kept.version)
        found[need.name.lower()] = (need if newer else kept), count + 1
    for need, count in found.values():
        more = f" and {count - 1} more" if count > 1 else ""
        yield PackNeed(need.registry_id, need.version, need.repository, need.revision, where=need.where + more)


def _pack(properties: Mapping[str, Any], where: str) -> PackNeed | None:
    pack = named_pack(properties)
    if pack is None:
        return None
    return PackNeed(pack.registry_id, pack.version, pack.repository, pack.revision, where=where)


def _core_version(node: Node) -> str | None:
    properties = _properties(node)
    version = properties.get("ver")
    return version if properties.get("cnr_id") == _CORE and isinstance(version, str) else None


def _properties(node: Node) -> Mapping[str, Any]:
    properties = node.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _label(node: Node) -> str:
    return f"node {str(node.get('id'))[:60]} ({str(node.get('type'))[:80]})"


def _last(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].lower()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
