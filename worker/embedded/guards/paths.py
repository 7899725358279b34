"""Patches ComfyUI so that the names that a caller sends stay inside ComfyUI's own folders."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

from worker.embedded import versions

_PATH_INPUTS = ("folder", "folder_name", "filename_prefix")


def guard_paths(folder_paths: Any, is_static: Callable[[str], bool]) -> None:
    """Make ``folder_paths`` refuse names that leave the folder they are looked up in.

    If this version of ComfyUI has such a check, the check is only extended: it accepts links to static files.

    Args:
        folder_paths: ComfyUI's module.
        is_static: whether a path is a link to a file that every job may read.
    """

    def contained(directory: str, target: str) -> bool:
        try:
            real = os.path.realpath(target)
        except ValueError:  # The name has a NUL.
            return False
        return _is_below(real, os.path.realpath(directory)) or (
            is_static(os.path.abspath(target)) and _is_below(os.path.abspath(target), os.path.abspath(directory))  # noqa: PTH100
        )

    if versions.checks_paths_itself(folder_paths):
        folder_paths.is_within_directory = contained
        return
    get, exists = folder_paths.get_annotated_filepath, folder_paths.exists_annotated_filepath

    def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
        base = folder_paths.annotated_filepath(name)[1] or default_dir or folder_paths.get_input_directory()
        path = str(get(name, default_dir))
        if not contained(base, path):
            raise ValueError(f"Invalid file path: {name!r}")
        return path

    def exists_annotated_filepath(name: str) -> bool:
        bare, base = folder_paths.annotated_filepath(name)
        base = base or folder_paths.get_input_directory()
        return contained(base, os.path.join(base, bare)) and bool(exists(name))  # noqa: PTH118 - as ComfyUI joins.

    folder_paths.get_annotated_filepath = get_annotated_filepath
    folder_paths.exists_annotated_filepath = exists_annotated_filepath


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def guard_dataset_nodes(node_classes: Mapping[str, Any]) -> None:
    """Check the inputs of the dataset nodes, which use some of a caller's names as paths without a check."""
    for node_class in node_classes.values():
        if getattr(node_class, "RELATIVE_PYTHON_MODULE", "") != "comfy_extras.nodes_dataset":
            continue
        if "execute" in vars(node_class):
            node_class.execute = classmethod(_checking_paths(vars(node_class)["execute"].__func__))


def _checking_paths(execute: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(execute)
    def checked(cls: Any, *args: Any, **kwargs: Any) -> Any:
        for name in _PATH_INPUTS:
            given = kwargs.get(name)
            for value in given if isinstance(given, list) else [given]:
                if isinstance(value, str) and (value.startswith("/") or ".." in value.replace("\\", "/").split("/")):
                    raise ValueError(f"Invalid {name} {value!r}: it leaves the folder that it belongs to")
        return execute(cls, *args, **kwargs)

    return checked
