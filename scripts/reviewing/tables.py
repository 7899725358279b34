"""Writes the tables of reviewed node classes in worker/embedded/reviewed/."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from worker.embedded.reviewed.nodes import ModuleFile, ReviewedNodes
from worker.embedded.reviewed.table import FOLDER, ReviewTable

_HEADERS = {
    "classes": "Node classes that were reviewed for callers whom the operator does not know (SAFE_NODES=core).",
    "bases": "Classes of other files that reviewed node classes stem from.",
    "files": "SHA-256 of whole files whose reviewed classes all have a hash that is listed. It saves the parsing.",
}
_WRITTEN = "# Written by scripts/review_nodes --accept. docs/security.md says how they were reviewed.\n"


def accept(nodes: ReviewedNodes, table: ReviewTable, names: Iterable[str], folder: Path = FOLDER) -> None:
    """Add the hashes of the installed classes ``names``, and of what they stem from, to the tables in ``folder``."""
    classes = {path: dict(found) for path, found in table.classes.items()}
    bases = {path: dict(found) for path, found in table.bases.items()}
    for name in names:
        (file, class_name), *others = nodes.origins(name)
        _add(classes.setdefault(file.path, {}), name, file.source.hash_of(class_name))
        for base, base_name in others:
            _add(bases.setdefault(base.path, {}), base_name, base.source.hash_of(base_name))
    files = {path: list(found) for path, found in table.files.items()}
    for file in nodes.files():
        listed = files.setdefault(file.path, [])
        if _is_whole(nodes, file, classes, bases) and file.sha256 not in listed:
            listed.append(file.sha256)
    _write(folder / "classes.toml", _HEADERS["classes"], _tables(classes))
    _write(folder / "bases.toml", _HEADERS["bases"], _tables(bases))
    found = "".join(f"{json.dumps(path)} = {json.dumps(files[path])}\n" for path in sorted(files) if files[path])
    _write(folder / "files.toml", _HEADERS["files"], found)


def _is_whole(
    nodes: ReviewedNodes,
    file: ModuleFile,
    classes: Mapping[str, Mapping[str, list[str]]],
    bases: Mapping[str, Mapping[str, list[str]]],
) -> bool:
    """Whether each listed class of ``file`` is in it as it was reviewed."""
    pairs = [item for item in bases.get(file.path, {}).items() if file.source.definitions(item[0])]
    for name, hashes in classes.get(file.path, {}).items():
        pairs += [(found, hashes) for place, found in nodes.origins(name)[:1] if place.path == file.path]
    return bool(pairs) and all(file.source.hash_of(name) in hashes for name, hashes in pairs)


def _add(found: dict[str, list[str]], name: str, hashed: str | None) -> None:
    if hashed is None:
        raise ValueError(f"{name} is made by other code than a class statement: it cannot be reviewed")
    found[name] = [*found.get(name, []), *([] if hashed in found.get(name, []) else [hashed])]


def _tables(found: Mapping[str, Mapping[str, list[str]]]) -> str:
    parts = []
    for path in sorted(found):
        lines = "".join(f"{json.dumps(name)} = {json.dumps(found[path][name])}\n" for name in sorted(found[path]))
        parts.append(f"[{json.dumps(path)}]\n{lines}")
    return "\n".join(parts)


def _write(path: Path, header: str, text: str) -> None:
    path.write_text(f"# {header}\n{_WRITTEN}\n{text}", encoding="utf-8")
