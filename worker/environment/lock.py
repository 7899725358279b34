"""Writes down exactly what is needed: revisions and hashes, as a build file that ``prepare`` reads again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from worker.environment.build_file import build_document
from worker.environment.packs import lock_entry, need_entry
from worker.environment.plan import PlannedModel, PlannedPack, State
from worker.fetch.address import without_secrets


@dataclass(frozen=True)
class Lock:
    """The text of a build file, and what in it is not exact, a line for each."""

    text: str
    gaps: tuple[str, ...]
    counted: str

    @property
    def is_exact(self) -> bool:
        """Whether the file gives the same again."""
        return not self.gaps


def make_lock(name: str, comfyui: str, models: Sequence[PlannedModel], packs: Sequence[PlannedPack]) -> Lock:
    """Write down ``models`` and ``packs``. ``comfyui``: the version of ComfyUI that is here."""
    gaps: list[str] = []
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for model in models:
        entry = _model_entry(model, gaps)
        if entry is not None:
            entries.setdefault((entry["type"], entry["filename"]), entry)
    pack_entries: dict[str, dict[str, str]] = {}
    for pack in packs:
        if pack.state is State.FAILED:
            gaps.append(f"{pack.need.name}: {pack.remark}")
            continue
        written = (lock_entry(pack.installed, pack.need) if pack.installed else None) or need_entry(pack.need)
        if written is None:
            gaps.append(f"{pack.need.name}: which version is not known; --install-packs installs it and finds out")
        else:
            pack_entries.setdefault(written["name"].lower(), written)
    version = comfyui if comfyui.startswith("v") or not comfyui[:1].isdecimal() else f"v{comfyui}"
    text = build_document(name, version, list(entries.values()), list(pack_entries.values()))
    return Lock(text, tuple(gaps), f"{len(entries)} models, {len(pack_entries)} node packs")


def _model_entry(model: PlannedModel, gaps: list[str]) -> dict[str, Any] | None:
    need, record = model.need, model.record
    url = model.remote.exact_url if model.remote else (record.url if record and record.url else need.url)
    if not url or not need.directory:
        gaps.append(f"{need.name}: nobody says where to get it, so it is left out")
        return None
    folders, _, filename = f"{need.directory}/{need.name}".replace("\\", "/").rpartition("/")
    entry = {"type": folders, "filename": filename, "sourceUri": without_secrets(url)}
    if model.state is State.DIFFERENT or (model.sha256 is None and model.state is State.FAILED):
        gaps.append(f"{need.name}: {model.remark}")
    elif model.sha256 is None:
        gaps.append(f"{need.name}: its SHA-256 is not known before it is fetched; --yes does that")
    if model.sha256 is None:
        return entry
    return {**entry, "sha256": model.sha256}
