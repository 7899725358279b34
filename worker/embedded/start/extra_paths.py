"""Finds the operator's file with further model folders, and checks that ComfyUI can read it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from worker.embedded import versions
from worker.embedded.start.source import ComfySource
from worker.errors import StartError

_FLAG = "--extra-model-paths-config"


def extra_paths_flags(source: ComfySource, comfy_args: Sequence[str] = ()) -> tuple[str, ...]:
    """The flags for the file in the base directory. ComfyUI reads the file in its own tree without a flag.

    ``comfy_args``: the operator's own flags, which may name further files.

    Raises:
        StartError: ComfyUI cannot read one of these files, or a folder of node packs that one names.
    """
    loads_packs = "--disable-all-custom-nodes" not in comfy_args
    for file in _files(source, comfy_args):
        groups = _read(file)
        if loads_packs:
            _check_packs(file, groups)
    in_base = _found(source, source.base)
    if source.base == source.path or in_base is None:
        return ()
    return (_FLAG, str(in_base))


def extra_folders(source: ComfySource, comfy_args: Sequence[str] = ()) -> list[tuple[str, Path, bool]]:
    """Each model folder of these files, in their order: its kind, its path, and whether it comes before all others.

    Raises: as ``extra_paths_flags``.
    """
    return [
        (kind, Path(os.path.normpath(_base(file, folders) / line)), bool(folders.get("is_default")))
        for file in _files(source, comfy_args)
        for folders in _read(file).values()
        for kind, lines in folders.items()
        if kind not in ("base_path", "is_default") and isinstance(lines, str)
        for line in filter(None, lines.split("\n"))
    ]


def _files(source: ComfySource, comfy_args: Sequence[str]) -> list[Path]:
    """The files that ComfyUI reads, in its order: in its tree, in the base directory, and named by its flags."""
    files = (_found(source, source.path), _found(source, source.base), *_named(comfy_args))
    return [file for file in dict.fromkeys(files) if file is not None and file.is_file()]


def _found(source: ComfySource, folder: Path) -> Path | None:
    files = (folder / name for name in versions.extra_paths_files(source.path))
    return next(filter(Path.is_file, files), None)


def _named(comfy_args: Sequence[str]) -> Iterator[Path]:
    """The files after ``--extra-model-paths-config``, which takes several and may be repeated."""
    takes = False
    for given in comfy_args:
        if given.startswith("--"):
            flag, _, value = given.partition("=")
            takes = flag == _FLAG and not value
            if flag == _FLAG and value:
                yield Path(value).absolute()
        elif takes:
            yield Path(given).absolute()


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """The groups of model folders in ``file``."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (
        OSError,
        ValueError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ) as error:  # PyYAML raises some errors that are no YAMLError.
        raise StartError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise StartError(f"{file} must hold groups of model folders, as {file.name}.example of ComfyUI does")
    for group, folders in content.items():
        if folders is not None and not isinstance(folders, dict):
            raise StartError(f"{file}: {group!r} must hold lines such as 'checkpoints: models/checkpoints'")
        if file.name != versions.EXTRA_MODEL_PATHS:
            continue  # ComfyUI's newer file may hold more than folders.
        for name, paths in (folders or {}).items():
            if name != "is_default" and not isinstance(paths, str):
                raise StartError(f"{file}: {name!r} of {group!r} must be a folder, or several on lines of their own")
    return {group: folders or {} for group, folders in content.items()}


def _check_packs(file: Path, groups: dict[str, dict[str, Any]]) -> None:
    """ComfyUI looks into each folder of node packs when it starts. Other folders may be missing."""
    for group, folders in groups.items():
        base = _base(file, folders)
        for line in filter(None, str(folders.get("custom_nodes", "")).split("\n")):
            folder = os.path.normpath(base / line)
            try:
                os.listdir(folder)  # noqa: PTH208 - as ComfyUI.
            except OSError as error:
                raise StartError(
                    f"{file}: the folder {folder} that 'custom_nodes' of {group!r} names cannot be read "
                    f"({error.strerror}): make it, or take it out of the file"
                ) from None


def _base(file: Path, folders: dict[str, Any]) -> Path:
    """The folder to which a group's folders are relative, as ComfyUI's ``load_extra_path_config`` finds it."""
    return file.parent / os.path.expandvars(os.path.expanduser(str(folders.get("base_path", ""))))  # noqa: PTH111
