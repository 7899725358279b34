"""Describes the network volume: which model files ComfyUI finds there, and why it does not find others."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.models.cached.hub import HUB
from worker.models.damage import damage, size_text
from worker.models.references import MODEL_ENDINGS, CachedFile, Catalog, ModelFolder, files_below

_MOST_LINES = 2000
_NOT_MODELS = ("custom_nodes", "venv", ".venv", "site-packages")


@dataclass(frozen=True)
class _Found:
    """A file that ComfyUI lists.

    ``folder``: its kind of model. ``name``: its name in workflows. ``size``: in bytes. ``remark``: why it is not used
    or not usable, or None.
    """

    file: Path
    folder: str
    name: str
    size: int
    remark: str | None


def describe_volume(volume: Path, catalog: Catalog) -> list[str]:
    """What is on the network volume, in lines for the log.

    Args:
        volume: the folder where it is mounted.
        catalog: what ComfyUI knows about model files.
    """
    if not volume.is_dir():
        return [
            f"Network volume: there is no {volume}. Attach one to the endpoint (Advanced > Network volumes), "
            "or name its folder with NETWORK_VOLUME_PATH",
        ]
    folders = catalog.model_folders()
    by_path = _folders_by_path(folders, volume)
    found: list[_Found] = []
    ignored: list[str] = []
    cached = catalog.cached_models()
    for file in files_below(volume):
        if file.is_relative_to(volume / HUB):
            continue
        containing = [(folder, path) for path in file.parents for folder in by_path.get(path, ())]
        listed = _found(file, containing, catalog)
        found.extend(listed)
        if not listed and (reason := _why_ignored(file, volume, containing, folders)):
            ignored.append(f"  {file.relative_to(volume)}: {reason}")
    return [
        f"Network volume: {volume}, {_mount(volume)}",
        *_packs(volume, catalog),
        *_found_lines(found, volume),
        *_cut(_cached_lines(cached, catalog)),
        *_cut(["ComfyUI does not find:", *ignored] if ignored else []),
        f"ComfyUI looks on it in {', '.join(sorted(str(path.relative_to(volume)) for path in by_path))}",
    ]


def _folders_by_path(folders: list[ModelFolder], volume: Path) -> dict[Path, list[ModelFolder]]:
    """For each folder on the volume in which ComfyUI looks for models: the model folders that it belongs to."""
    by_path: dict[Path, list[ModelFolder]] = {}
    for folder in folders:
        for path in folder.paths:
            if path.is_relative_to(volume):
                by_path.setdefault(path, []).append(folder)
    return by_path


def _mount(volume: Path) -> str:
    usage = shutil.disk_usage(volume)
    room = f"{size_text(usage.free)} free of {size_text(usage.total)}"
    if os.path.ismount(volume):
        return f"mounted, {room}"
    return f"a folder of the container itself, nothing is mounted there, {room}"


def _packs(volume: Path, catalog: Catalog) -> Iterator[str]:
    folder = volume / "custom_nodes"
    count = sum(entry.is_dir() for entry in folder.iterdir()) if folder.is_dir() else 0
    if count and catalog.loads_packs_from(folder):
        yield f"custom_nodes: {count} node pack(s), loaded"
    elif count:
        yield f"custom_nodes: {count} node pack(s), not loaded; VOLUME_CUSTOM_NODES=true loads them"


def _found(file: Path, containing: list[tuple[ModelFolder, Path]], catalog: Catalog) -> list[_Found]:
    return [
        _Found(file, folder.name, name, _size(file), _remark(file, folder.name, name, catalog))
        for folder, path in containing
        if folder.lists(file)
        for name in [str(file.relative_to(path))]
    ]


def _remark(file: Path, folder: str, name: str, catalog: Catalog) -> str | None:
    used = catalog.model_path(folder, name)
    if used is not None and used != file:
        return f"not used: {used} has the same name and comes first"
    return damage(file)


def _why_ignored(
    file: Path, volume: Path, containing: list[tuple[ModelFolder, Path]], folders: list[ModelFolder]
) -> str | None:
    """Why ComfyUI does not list a file that looks like a model or is in a model folder. None for other files."""
    if set(file.relative_to(volume).parts[:-1]) & set(_NOT_MODELS):
        return None
    if containing:
        if file.name.startswith(("put_", ".")):
            return None
        unfinished = damage(file) if file.suffix.lower() not in MODEL_ENDINGS else None
        takes, _ = containing[0]
        return unfinished or f"{takes.name} takes {', '.join(sorted(filter(None, takes.extensions))) or 'folders'}"
    if file.suffix.lower() not in MODEL_ENDINGS:
        return None
    parent = file.parent.relative_to(volume)
    if str(parent) in (".", "models"):
        return f"it lies in {file.parent}, ComfyUI looks in the folders below {volume / 'models'}, by kind of model"
    known = {folder.name for folder in folders}
    if parent.parts[0] in known:
        return f"it lies in {file.parent}, ComfyUI looks in {volume / 'models' / parent}"
    name = parent.parts[1] if parent.parts[0] == "models" else parent.parts[0]
    close = difflib.get_close_matches(name, known, n=1)
    return f"there is no kind of model called {name!r}" + (f"; was {close[0]!r} meant?" if close else "")


def _found_lines(found: list[_Found], volume: Path) -> list[str]:
    if not found:
        return ["ComfyUI finds no model file on it"]
    lines = ["ComfyUI finds, by the names to use in a workflow:"]
    by_folder: dict[tuple[str, Path], list[_Found]] = {}
    for entry in found:
        by_folder.setdefault((entry.folder, _folder_path(entry)), []).append(entry)
    for (folder, path), entries in sorted(by_folder.items()):
        total = sum(entry.size for entry in entries)
        lines.append(f"  {folder}, in {path.relative_to(volume)}: {len(entries)} file(s), {size_text(total)}")
        for entry in entries:
            remark = f"  ({entry.remark})" if entry.remark else ""
            lines.append(f"    {size_text(entry.size):>10}  {entry.name}{remark}")
    return _cut(lines)


def _cached_lines(files: Sequence[CachedFile], catalog: Catalog) -> list[str]:
    """What RunPod has cached for the endpoint."""
    lines = []
    for file in files:
        where = f"{file.repository}, {file.inside}, at {file.revision[:12]}"
        if file.folder is None:
            lines.append(f"    not shown: {where}: {file.remark}")
            continue
        remark = _remark(file.path, file.folder, file.name, catalog) or file.remark
        lines.append(f"    {size_text(_size(file.path)):>10}  {file.folder}: {file.name}  (of {where}; {remark})")
    return ["  RunPod's cached models:", *lines] if lines else []


def _folder_path(entry: _Found) -> Path:
    """The folder to which the entry's name is relative."""
    return entry.file.parents[len(Path(entry.name).parts) - 1]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _cut(lines: list[str]) -> list[str]:
    if len(lines) <= _MOST_LINES:
        return lines
    return [*lines[:_MOST_LINES], f"  and {len(lines) - _MOST_LINES} more"]
