"""Finds the model files that a workflow names, and files that may be meant by missing ones."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from worker.protocol.spelling import is_absolute

_EMBEDDING = re.compile(r"\bembedding:([^\s,;:()\[\]]+)")
MODEL_ENDINGS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf", ".onnx")
_MOST_FILES = 100_000
_SIMILAR = 0.8  # By difflib's measure, where 1 is equal.
_MOST_HINTS = 10


@dataclass(frozen=True)
class ModelFolder:
    """One of ComfyUI's model folders.

    Attributes:
        name: the kind of model, such as ``checkpoints``.
        paths: the folders that it is read from, the first one first.
        extensions: the endings of the files that ComfyUI lists, in lower case. Empty if it lists all files.
    """

    name: str
    paths: tuple[Path, ...]
    extensions: frozenset[str]

    def lists(self, file: Path) -> bool:
        """Whether ComfyUI lists a file with this name."""
        return not self.extensions or file.suffix.lower() in self.extensions


@dataclass(frozen=True)
class CachedFile:
    """A model file of the cache.

    Attributes:
        path: its path in the snapshot, which may be a link.
        repository: such as ``Comfy-Org/flux1-dev``.
        revision: the commit.
        inside: its path in the repository.
        folder: ComfyUI's model folder that it belongs in; None if it cannot be used.
        name: its name there.
        remark: why it cannot be used, or how its folder was found.
    """

    path: Path
    repository: str
    revision: str
    inside: str
    folder: str | None
    name: str
    remark: str


class Catalog(Protocol):
    """What ComfyUI knows about model files."""

    def model_folders(self) -> list[ModelFolder]: ...

    def model_files(self, folder: str) -> list[str]:
        """Names of the files in ``folder``, as workflows name them."""

    def model_path(self, folder: str, name: str) -> Path | None:
        """The path of the file in ``folder`` that workflows call ``name``. None if there is none."""

    def model_names(self, path: str) -> list[str]:
        """The names by which workflows call the model file at ``path``, a full one; empty if it is no model's."""

    def cached_models(self) -> Sequence[CachedFile]:
        """The models that the platform has cached for the endpoint."""

    def loads_packs_from(self, folder: Path) -> bool:
        """Whether node packs are loaded from this folder."""

    def model_inputs(self, class_type: str) -> Mapping[str, tuple[str, frozenset[str]]]:
        """For each input of a class that takes a model file: its model folder, and the choices that are no files."""


@dataclass(frozen=True)
class ModelReference:
    """A model file that a workflow names.

    Attributes:
        folder: the model folder that it belongs in. None if that is not known.
        path: the file's path, or None if it is missing.
    """

    node_id: str
    class_type: str
    input_name: str
    name: str
    folder: str | None
    path: Path | None

    @property
    def size(self) -> int | None:
        """The file's bytes on disk. None if it is missing."""
        try:
            return self.path.stat().st_size if self.path else None
        except OSError:
            return None


def workflow_models(workflow: Mapping[str, Any], catalog: Catalog) -> list[ModelReference]:
    """Every model file that ``workflow`` names, in the order of its nodes."""
    return [
        reference
        for node_id, node in workflow.items()
        for input_name, value in node["inputs"].items()
        if isinstance(value, str)
        for reference in _named(catalog, node_id, node["class_type"], input_name, value)
    ]


def _named(catalog: Catalog, node_id: str, class_type: str, input_name: str, value: str) -> Iterator[ModelReference]:
    known = catalog.model_inputs(class_type).get(input_name)
    name = next(iter(catalog.model_names(value) if is_absolute(value) else ()), value)
    if known is not None:
        folder, no_files = known
        if value not in no_files:
            yield ModelReference(node_id, class_type, input_name, value, folder, catalog.model_path(folder, name))
    elif value.lower().endswith(MODEL_ENDINGS) and "\n" not in value and not _EMBEDDING.search(value):
        found = ((folder.name, catalog.model_path(folder.name, name)) for folder in catalog.model_folders())
        folder_name, path = next((each for each in found if each[1]), (None, None))
        yield ModelReference(node_id, class_type, input_name, value, folder_name, path)
    else:
        for name in dict.fromkeys(_EMBEDDING.findall(value)):
            path = _embedding(catalog, name)
            yield ModelReference(node_id, class_type, input_name, name, "embeddings", path)


def _embedding(catalog: Catalog, name: str) -> Path | None:
    """The path of an embedding's file. A prompt may name it without its ending."""
    paths = (catalog.model_path("embeddings", name + ending) for ending in ("", ".safetensors", ".pt", ".bin"))
    return next((path for path in paths if path), None)


def files_below(root: Path) -> Iterator[Path]:
    """The files below ``root``, at most 100,000. Links are followed; hidden folders are left out."""
    count, seen = 0, set()
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(folder)
        if real in seen:  # Links between folders may form a cycle.
            folders.clear()
            continue
        seen.add(real)
        for name in sorted(files):
            count += 1
            if count > _MOST_FILES:
                return
            yield Path(folder) / name


def files_by_stem(catalog: Catalog, volume: Path | None) -> dict[str, list[Path]]:
    """Paths of all files on the volume and in the model folders, by stem in lower case, for ``near_misses``."""
    roots = [path for folder in catalog.model_folders() for path in folder.paths]
    models = sorted({path.parent for path in roots if path.parent.name == "models"})
    found: dict[str, list[Path]] = {}
    for path in dict.fromkeys(
        path for root in [*([volume] if volume else []), *models, *roots] for path in files_below(root)
    ):
        found.setdefault(_stem(path.name), []).append(path)
    return found


def near_misses(
    reference: ModelReference, catalog: Catalog, volume: Path | None, files: Mapping[str, list[Path]]
) -> list[str]:
    """A line for each file that may be meant by a missing one, the likeliest first.

    ``files``: the result of ``files_by_stem``.
    """
    listed = catalog.model_files(reference.folder) if reference.folder else []
    wanted = _stem(reference.name)
    same = [name for name in listed if _stem(name) == wanted and catalog.model_path(reference.folder or "", name)]
    lines = [f"the workflow must name it {name!r}" for name in same]
    lines += [
        f"{path} is a link to {path.readlink()}, which is not there" for path in files.get(wanted, []) if _dangles(path)
    ]
    own = next((folder for folder in catalog.model_folders() if folder.name == reference.folder), None)
    lines += [
        f"{reference.name!r} lies in {path.parent}, ComfyUI looks in {_places(reference, catalog, volume)}"
        for path in files.get(wanted, [])
        if path.exists()
        if own is None or not own.lists(path) or not any(path.is_relative_to(place) for place in own.paths)
    ]
    if not lines:
        stems = {_stem(name): name for name in listed if catalog.model_path(reference.folder or "", name)}
        similar = difflib.get_close_matches(wanted, stems, n=3, cutoff=_SIMILAR)
        lines = [f"there is {stems[stem]!r}" for stem in similar]
    return lines[:_MOST_HINTS]


def _dangles(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _stem(name: str) -> str:
    return Path(name.replace("\\", "/")).stem.lower()


def _places(reference: ModelReference, catalog: Catalog, volume: Path | None) -> str:
    """The folders where a missing file belongs, for a message. If some are on the volume, only those."""
    places = places_for(reference, catalog)
    on_volume = [path for path in places if volume and path.is_relative_to(volume)]
    return " or ".join(str(path) for path in on_volume or places) or "no folder that is known"


def places_for(reference: ModelReference, catalog: Catalog) -> tuple[Path, ...]:
    """The folders in which ComfyUI looks for a file."""
    return next((folder.paths for folder in catalog.model_folders() if folder.name == reference.folder), ())
