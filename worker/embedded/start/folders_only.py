"""Asks ComfyUI for its model folders alone, without torch and without node packs: it takes a tenth of a second.

Folders that node packs add are not among them. Use it in a process that does not start ComfyUI as well.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.embedded.files.cached_models import hub_of
from worker.embedded.files.model_folders import add_volume, model_folders
from worker.embedded.start.extra_paths import extra_folders
from worker.embedded.start.flags import arguments, parse_folder_flags
from worker.embedded.start.source import ComfySource, enter, find_source
from worker.models.cached.hub import cached_files
from worker.models.references import CachedFile, ModelFolder
from worker.settings import Settings


@dataclass(frozen=True)
class Folders:
    """Where ComfyUI reads from.

    Attributes:
        models: its model folders, those on the network volume among them.
        roots: the folders with a subfolder for each kind of model: on the network volume, if there is one, and its own.
        custom_nodes: the folders of node packs that it loads.
        cached: the models that the platform has cached for the endpoint.
    """

    source: ComfySource
    models: list[ModelFolder]
    roots: tuple[Path, ...]
    custom_nodes: tuple[Path, ...]
    cached: tuple[CachedFile, ...] = ()


def find_folders(settings: Settings) -> Folders:
    """Ask for them.

    Raises:
        StartError: there is no tree, or a file that names folders cannot be read.
    """
    source = find_source(settings.comfyui_path, settings.comfy_base_dir)
    volume = settings.network_volume_path if settings.network_volume_path.is_dir() else None
    further = extra_folders(source, settings.comfy_args)
    enter(source)
    with arguments(("--base-directory", str(source.base), *settings.comfy_args)):
        parse_folder_flags()
        folder_paths: Any = importlib.import_module("folder_paths")
    for kind, path, is_first in further:
        folder_paths.add_model_folder_path(kind, str(path), is_first)
    if volume is not None:
        add_volume(folder_paths, volume)
    packs = [Path(path) for path in folder_paths.get_folder_paths("custom_nodes")]
    if volume is not None and settings.volume_custom_nodes:
        packs.append(volume / "custom_nodes")
    roots = ([volume / "models"] if volume is not None else []) + [Path(folder_paths.models_dir)]
    models = model_folders(folder_paths, source.base / "output")
    hub = hub_of(volume, is_on=settings.cached_models == "auto")
    cached = tuple(cached_files(hub, models)) if hub is not None else ()
    return Folders(source, models, tuple(roots), tuple(packs), cached)
