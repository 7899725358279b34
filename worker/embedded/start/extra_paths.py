"""Finds the operator's file with further model folders, and checks that ComfyUI can read it."""

from __future__ import annotations

from pathlib import Path

import yaml

from worker.embedded import versions
from worker.embedded.start.source import ComfySource
from worker.errors import StartError


def extra_paths_flags(source: ComfySource) -> tuple[str, ...]:
    """The flags for the file in the base directory. ComfyUI reads the file in its own tree without a flag.

    Raises:
        StartError: ComfyUI cannot read one of these files.
    """
    in_tree, in_base = _found(source, source.path), _found(source, source.base)
    for file in filter(None, {in_tree, in_base}):
        _check(file)
    if source.base == source.path or in_base is None:
        return ()
    return ("--extra-model-paths-config", str(in_base))


def _found(source: ComfySource, folder: Path) -> Path | None:
    files = (folder / name for name in versions.extra_paths_files(source.path))
    return next(filter(Path.is_file, files), None)


def _check(file: Path) -> None:
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
