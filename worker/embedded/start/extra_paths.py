"""Finds the operator's ``extra_model_paths.yaml``, and checks that ComfyUI can read it."""

from __future__ import annotations

from pathlib import Path

import yaml

from worker.embedded.start.source import ComfySource
from worker.errors import StartError

_NAME = "extra_model_paths.yaml"


def extra_paths_flags(source: ComfySource) -> tuple[str, ...]:
    """The flags for the file in the base directory. ComfyUI reads the file in its own tree without a flag.

    Raises:
        StartError: ComfyUI cannot read one of these files.
    """
    in_tree, in_base = source.path / _NAME, source.base / _NAME
    for file in {in_tree, in_base}:
        if file.is_file():
            _check(file)
    if source.base == source.path or not in_base.is_file():
        return ()
    return ("--extra-model-paths-config", str(in_base))


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
        raise StartError(f"{file} must hold groups of model folders, as extra_model_paths.yaml.example of ComfyUI does")
    for group, folders in content.items():
        if folders is not None and not isinstance(folders, dict):
            raise StartError(f"{file}: {group!r} must hold lines such as 'checkpoints: models/checkpoints'")
        for name, paths in (folders or {}).items():
            if name != "is_default" and not isinstance(paths, str):
                raise StartError(f"{file}: {name!r} of {group!r} must be a folder, or several on lines of their own")
