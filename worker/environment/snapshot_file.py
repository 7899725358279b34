"""Reads a snapshot of ComfyUI-Manager, ``snapshot.json``, which lists node packs and their revisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.environment.needs import Needs, PackNeed

_KEYS = ("git_custom_nodes", "cnr_custom_nodes")


def is_snapshot(document: Mapping[str, Any]) -> bool:
    """Whether ``document`` is such a snapshot."""
    return any(isinstance(document.get(key), Mapping) for key in _KEYS)


def snapshot_needs(document: Mapping[str, Any], source: str) -> Needs:
    """The packs of a snapshot. Those that it calls disabled are left out."""
    needs = Needs()
    registry, repositories = (_mapping(document.get(key)) for key in reversed(_KEYS))
    for name, version in registry.items():
        number = version if isinstance(version, str) and version[:1].isdecimal() else None
        needs.packs.append(PackNeed(name, number, is_exact=number is not None, where=source))
    for url, about in repositories.items():
        about = _mapping(about)
        commit = about.get("hash")
        if about.get("disabled") is not True:
            revision = commit if isinstance(commit, str) and commit else None
            needs.packs.append(PackNeed(None, None, url, revision, is_exact=revision is not None, where=source))
    commit = document.get("comfyui")
    if isinstance(commit, str) and commit:
        needs.comfyui.append(commit)
    files = [about.get("filename") for about in document.get("file_custom_nodes") or () if isinstance(about, Mapping)]
    if files:
        names = ", ".join(str(name)[:80] for name in files[:10])
        needs.notes.append(f"{source}: single files in custom_nodes are not in it, bring them yourself: {names}")
    if document.get("pips"):
        needs.notes.append(f"{source}: its Python packages are not installed: packs install what they require")
    return needs


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
