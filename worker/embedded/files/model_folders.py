"""Adds the network volume to ComfyUI's model folders, and finds the model folder of each input of a node."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker.models.references import ModelFolder
from worker.protocol.installed import combo_choices

# Stands for a file in the list of an empty folder. It has a model file's suffix, since some nodes look for that.
_IN_EMPTY = "none.safetensors"
# Two jobs may ask at the same time, and each replaces ComfyUI's function and restores it afterwards.
_one_at_a_time = threading.Lock()
_NO_MODELS = ("custom_nodes", "datasets")


def add_volume(folder_paths: Any, volume: Path) -> None:
    """Let ComfyUI read each of its model folders from ``volume/models`` as well, after its own.

    Call it again after node packs are imported, since they add folders of their own.
    """
    for name, (paths, extensions) in list(folder_paths.folder_names_and_paths.items()):
        if name not in _NO_MODELS:
            if not isinstance(paths, list):  # VideoHelperSuite puts a tuple here, to which nothing can be added.
                folder_paths.folder_names_and_paths[name] = list(paths), extensions
            for folder in _names_on_volume(name, paths, Path(folder_paths.models_dir)):
                folder_paths.add_model_folder_path(name, str(volume / "models" / folder))


def _names_on_volume(name: str, paths: list[str], models_dir: Path) -> list[str]:
    """Folders below ``models/`` for files of ``name``. For ``text_encoders``, for example, there is also ``clip``."""
    own = [str(Path(path).relative_to(models_dir)) for path in paths if Path(path).is_relative_to(models_dir)]
    return list(dict.fromkeys([name, *own]))


def survive_removed_folders(folder_paths: Any) -> None:
    """Let ``folder_paths`` list a model folder after a folder below it was removed, for example by another worker.

    ComfyUI checks the modification time of each folder that it has listed, and would raise if one of them is gone.
    """
    cached = folder_paths.cached_filename_list_

    def cached_filename_list_(folder_name: str) -> Any:
        try:
            return cached(folder_name)
        except FileNotFoundError:
            return None

    folder_paths.cached_filename_list_ = cached_filename_list_


def model_folders(folder_paths: Any, hidden: Path) -> list[ModelFolder]:
    """Every model folder that ComfyUI and its node packs know. Paths below ``hidden`` are left out."""
    return [
        ModelFolder(
            name,
            tuple(Path(path) for path in paths if not Path(path).is_relative_to(hidden)),
            frozenset(extensions),
        )
        for name, (paths, extensions) in folder_paths.folder_names_and_paths.items()
        if name not in _NO_MODELS
    ]


def model_inputs(node_class: Any, folder_paths: Any) -> dict[str, tuple[str, frozenset[str]]]:
    """For each input of ``node_class`` that takes a model file: its model folder, and the choices that are no files.

    The class returns its inputs. While it does, each name in ComfyUI's lists of model files carries its folder.
    """
    try:
        with _lists_naming_folders(folder_paths):
            inputs = node_class.INPUT_TYPES()
        groups = [group for kind in ("required", "optional") if isinstance(group := inputs.get(kind), Mapping)]
    except Exception:  # noqa: BLE001 - this is code of a node pack, which may raise anything.
        return {}
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for name, config in (item for group in groups for item in group.items()):
        choices = [choice for choice in combo_choices(config) if isinstance(choice, str)]
        folder = next((choice.folder for choice in choices if isinstance(choice, _Listed)), None)
        if folder is not None:
            found[name] = folder, frozenset(choice for choice in choices if not isinstance(choice, _Listed))
    return found


class _Listed(str):
    """The name of a model file, with its folder. It equals the plain name, since a pack may keep and use it later."""

    __slots__ = ("folder",)
    folder: str

    def __new__(cls, name: str, folder: str) -> _Listed:
        listed = super().__new__(cls, name)
        listed.folder = folder
        return listed


@contextmanager
def _lists_naming_folders(folder_paths: Any) -> Iterator[None]:
    with _one_at_a_time:
        listed, here = folder_paths.cached_filename_list_, threading.get_ident()

        def naming(folder_name: str) -> Any:
            found = listed(folder_name)
            if threading.get_ident() != here:  # The executor's thread is validating another job.
                return found
            folder = folder_paths.map_legacy(folder_name)
            if found is None:
                found = folder_paths.filename_list_cache[folder] = folder_paths.get_filename_list_(folder)
            names = found[0] or [_IN_EMPTY]
            return [_Listed(name, folder) for name in names], {}, 0.0

        folder_paths.cached_filename_list_ = naming
        try:
            yield
        finally:
            folder_paths.cached_filename_list_ = listed
