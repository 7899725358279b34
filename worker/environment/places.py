"""Finds the model files that are there, and where a missing one belongs: always inside of ComfyUI's model folders.

A name and a folder are words of whoever wrote the workflow, so neither may lead anywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.fetch.model_names import BadName, check_ending, name_parts
from worker.models.references import CachedFile, ModelFolder

_NO_MODELS = ("configs", "custom_nodes")


class NoPlace(Exception):
    """The file must not be put anywhere, or nobody knows where it belongs. The text says why."""


@dataclass(frozen=True)
class Places:
    """Where ComfyUI reads models from.

    Attributes:
        folders: its model folders.
        models: the folders whose subfolders are kinds of model, the one that gets new files first: ``models/`` on the
            network volume, and that of the base directory.
        pickles: whether files may be fetched that run code when they are loaded.
        cached: the models that the platform has cached for the endpoint.
        new_kinds: whether a kind of model may get a folder that ComfyUI itself does not know.
    """

    folders: Sequence[ModelFolder]
    models: Sequence[Path]
    pickles: bool = False
    new_kinds: bool = False
    cached: Sequence[CachedFile] = ()

    def find(self, directory: str | None, name: str) -> Path | None:
        """The file that a workflow means; None if it is not there. Raises nothing."""
        try:
            parts = _parts(name)
            roots = self._roots(directory) if directory else [path for each in self.folders for path in each.paths]
        except NoPlace:
            return None
        found = next((path for root in roots if (path := root.joinpath(*parts)).is_file()), None)
        return found or next((file.path for file in self.cached if _is_meant(file, roots, "/".join(parts))), None)

    def target(self, directory: str | None, name: str, *, is_own: bool = False) -> Path:
        """Where to put a missing file.

        Args:
            directory, name: as in ``ModelNeed``.
            is_own: whether the operator's own file says so: then the kind of model may be new.

        Raises:
            NoPlace: nowhere.
        """
        parts = _parts(name)
        try:
            check_ending(parts[-1], pickles=self.pickles, switch="if you trust its source, use --pickles")
        except BadName as error:
            raise NoPlace(str(error)) from None
        if not directory:
            raise NoPlace("nobody says which model folder it belongs in")
        roots = self._roots(directory, new=self.new_kinds or is_own)
        if not roots:
            raise NoPlace(
                f"ComfyUI knows no model folder {directory!r}: a node pack or a newer ComfyUI may bring it; "
                "--new-folders makes it"
            )
        root = self._preferred(roots)
        target = root.joinpath(*parts)
        _check_inside(target, root)
        return target

    def _roots(self, directory: str, *, new: bool = False) -> list[Path]:
        """The folders that ComfyUI reads for ``directory``, by its name or by the name of one of its folders."""
        kind, *below = _parts(directory)
        if kind.lower() in _NO_MODELS:
            raise NoPlace(f"{kind!r} is no folder for models")
        folders = [folder for folder in self.folders if folder.name == kind]
        folders = folders or [folder for folder in self.folders if any(path.name == kind for path in folder.paths)]
        paths = dict.fromkeys(path for folder in folders for path in folder.paths)
        roots = sorted(paths, key=lambda path: path.name != kind)
        if not roots:
            roots = [path for models in self.models if (path := models / kind).is_dir() or new]
        return [root.joinpath(*below) for root in roots]

    def _preferred(self, roots: Sequence[Path]) -> Path:
        """The folder for a new file: one in the first of ``models`` that has one, else ComfyUI's first."""
        return next((root for models in self.models for root in roots if root.is_relative_to(models)), roots[0])


def _parts(text: str) -> list[str]:
    """The parts of a relative path.

    Raises:
        NoPlace: it leads elsewhere, or is no path.
    """
    try:
        return name_parts(text)
    except BadName as error:
        raise NoPlace(str(error)) from None


def _is_meant(file: CachedFile, roots: Sequence[Path], name: str) -> bool:
    return file.name == name and any(root.name == file.folder for root in roots)


def _check_inside(target: Path, root: Path) -> None:
    """Refuse a ``target`` that links lead out of ``root``, or that is a link itself."""
    if os.path.islink(target):  # noqa: PTH114 - also one that leads nowhere.
        raise NoPlace(f"{target} is a link to a file that is not there")
    real, inside = Path(os.path.realpath(target.parent)), Path(os.path.realpath(root))
    if real != inside and not real.is_relative_to(inside):
        raise NoPlace(f"{target.parent} is a link that leads out of {root}")
