"""Reads and writes a build file: ``comfy-build.yaml``, schema ``comfy-build/1``, which lists models and node packs.

What is used of the schema: ``definition.models`` with ``type``, ``filename``, ``sourceUri`` and ``sha256``;
``definition.customNodes`` with ``name`` and either ``id`` and ``registryVersion`` or ``repository`` and ``gitRef`` or
``commit``; ``definition.baseComfyVersion``. Other fields are for the service whose format this is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from worker.environment.needs import ModelNeed, Needs, PackNeed, UnreadableFile

SCHEMA, _INNER_SCHEMA = "comfy-build/1", "distribution-definition/0"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def build_needs(document: Mapping[str, Any], source: str) -> Needs:
    """What a build file lists.

    Raises:
        UnreadableFile: an entry is not as the schema wants it.
    """
    definition = document.get("definition")
    if not isinstance(definition, Mapping):
        raise UnreadableFile(f"{source}: 'definition' must be a mapping")
    needs = Needs()
    for place, entry in _entries(definition, "models", source):
        needs.models.append(_model(entry, place, source))
    for place, entry in _entries(definition, "customNodes", source):
        needs.packs.append(_pack(entry, place, source))
    version = definition.get("baseComfyVersion")
    if isinstance(version, str):
        needs.comfyui.append(version)
    if definition.get("pipDependencies"):
        needs.notes.append(f"{source}: its 'pipDependencies' are not installed: packs install what they require")
    return needs


def build_document(
    name: str, comfyui: str, models: Sequence[Mapping[str, Any]], packs: Sequence[Mapping[str, Any]]
) -> str:
    """The text of a build file with these entries, in the order that the schema wants."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "id": None,
        "name": name,
        "description": "",
        "syncedRevision": None,
        "definition": {
            "schema": _INNER_SCHEMA,
            "baseComfyVersion": comfyui,
            "models": sorted(models, key=lambda entry: (entry["type"], entry["filename"], entry.get("sha256", ""))),
            "customNodes": sorted(packs, key=lambda entry: (entry["name"], entry.get("id") or "")),
        },
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=4096)


def write_build_file(path: Path, text: str) -> None:
    """Write it so that nobody sees a part of it.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _entries(definition: Mapping[str, Any], key: str, source: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    given = definition.get(key)
    given = [] if given is None else given
    if not isinstance(given, list):
        raise UnreadableFile(f"{source}: definition.{key} must be a list")
    for index, entry in enumerate(given):
        place = f"definition.{key}[{index}]"
        if not isinstance(entry, Mapping):
            raise UnreadableFile(f"{source}: {place} must be a mapping")
        yield place, entry


def _model(entry: Mapping[str, Any], place: str, source: str) -> ModelNeed:
    directory, url = _text(entry, "type", place, source), _text(entry, "sourceUri", place, source)
    if directory is None:
        raise UnreadableFile(f"{source}: {place}.type must name a model folder, such as checkpoints")
    name = _text(entry, "filename", place, source) or unquote(urlsplit(url or "").path.rpartition("/")[2])
    if not name:
        raise UnreadableFile(f"{source}: {place} needs a filename")
    sha256 = _text(entry, "sha256", place, source)
    if sha256 is not None and not _SHA256.fullmatch(sha256.lower()):
        raise UnreadableFile(f"{source}: {place}.sha256 must have 64 hexadecimal digits, not {sha256[:80]!r}")
    return ModelNeed(name, directory, url, sha256.lower() if sha256 else None, f"{source}, {place}", is_own=True)


def _pack(entry: Mapping[str, Any], place: str, source: str) -> PackNeed:
    given = {key: _text(entry, key, place, source) for key in ("id", "name", "registryVersion", "repository")}
    revision = _text(entry, "commit", place, source) or _text(entry, "gitRef", place, source)
    registry_id, where = given["id"] or given["name"], f"{source}, {place}"
    if given["repository"]:
        return PackNeed(given["id"], None, given["repository"], revision, is_exact=revision is not None, where=where)
    if given["registryVersion"] and registry_id:
        return PackNeed(registry_id, given["registryVersion"], is_exact=True, where=where)
    if not registry_id:
        raise UnreadableFile(f"{source}: {place} needs a name")
    return PackNeed(registry_id, where=where)


def _text(entry: Mapping[str, Any], key: str, place: str, source: str) -> str | None:
    value = entry.get(key)
    if value is None or (isinstance(value, str) and value):
        return value
    raise UnreadableFile(f"{source}: {place}.{key} must be a text, not {str(value)[:80]!r}")
