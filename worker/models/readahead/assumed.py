"""Finds model files while ComfyUI is not loaded yet, by the folders that it will most likely read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from worker.models.readahead.names import NamedModel, Workflow, last_nodes
from worker.protocol.spelling import usual_name

# Kinds of model by the inputs of ComfyUI's own nodes that take them. A file of another kind is found as well, if its
# name is nowhere else.
_KINDS = {
    "ckpt_name": ("checkpoints",),
    "vae_name": ("vae", "vae_approx"),
    "lora_name": ("loras",),
    "unet_name": ("diffusion_models",),
    "clip_name": ("text_encoders", "clip_vision"),
    "clip_name1": ("text_encoders",),
    "clip_name2": ("text_encoders",),
    "clip_name3": ("text_encoders",),
    "clip_name4": ("text_encoders",),
    "control_net_name": ("controlnet",),
    "style_model_name": ("style_models",),
    "model_name": ("upscale_models", "latent_upscale_models"),
}
# Folders that ComfyUI reads for a kind of another name.
_ALSO = {"clip": "text_encoders", "unet": "diffusion_models", "t2i_adapter": "controlnet"}
_NO_MODELS = ("custom_nodes", "configs", "datasets")


class AssumedModels:
    """Finds files where ComfyUI will look for them. A name that several different files have is left out.

    Args:
        models: ``models/`` folders, the first one first: that of the base directory, and that of the volume.
        further: the operator's further model folders: the kind, the path, and whether it comes before all others.
    """

    def __init__(self, models: Sequence[Path], further: Iterable[tuple[str, Path, bool]] = ()) -> None:
        self._folders: dict[str, list[Path]] = {}
        for folder in models:
            for name in _folders_in(folder):
                self._folders.setdefault(_kind(name), []).append(folder / name)
        for name, folder, is_first in further:
            folders = self._folders.setdefault(_kind(name), [])
            folders.insert(0 if is_first else len(folders), folder)
        for name in _NO_MODELS:
            self._folders.pop(name, None)

    def outputs(self, workflow: Workflow) -> list[str]:
        """Ids of the nodes that most likely save or show something."""
        return last_nodes(workflow)

    def find(self, named: NamedModel) -> Path | None:
        """The file that ``named`` most likely means."""
        name = PurePosixPath(usual_name(named.name))
        if name.is_absolute() or ".." in name.parts:
            return None
        kinds = _KINDS.get(named.input_name, ())
        return self._only_one(kinds, name) or self._only_one(self._folders, name)

    def _only_one(self, kinds: Iterable[str], name: PurePosixPath) -> Path | None:
        found = [path for kind in kinds if (path := self._first(kind, name)) is not None]
        return found[0] if found and all(path.samefile(found[0]) for path in found[1:]) else None

    def _first(self, kind: str, name: PurePosixPath) -> Path | None:
        """The file that ComfyUI takes for ``name`` among all files of ``kind``."""
        return next((path for folder in self._folders.get(kind, ()) if (path := folder / name).is_file()), None)


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:  # It is not there, or its mount does not answer.
        return []


def _kind(folder: str) -> str:
    return _ALSO.get(folder, folder)
