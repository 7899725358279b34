"""Finds where packs are installed, ``custom_nodes`` of the worker's ComfyUI, and puts a pack's folder there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from worker.embedded.start.source import find_tree
from worker.errors import ComfyNotFound


class NoDestination(Exception):
    """There is no ComfyUI to install into. The text says how to name one."""


@dataclass(frozen=True)
class Destination:
    """``custom_nodes`` gets the packs. ``comfyui`` is ComfyUI's tree, which the packs' scripts may need."""

    custom_nodes: Path
    comfyui: Path

    def folder(self, name: str) -> Path:
        """The folder of the pack ``name``, which may not exist yet.

        A folder whose name differs only in case belongs to the same pack: the registry writes names in lower case, and
        ComfyUI would load both folders.
        """
        found = sorted(self.custom_nodes.iterdir()) if self.custom_nodes.is_dir() else []
        return next((path for path in found if path.name.lower() == name.lower()), self.custom_nodes / name)


def find_destination(into: Path | None, environment: Mapping[str, str]) -> Destination:
    """``into``, or ``custom_nodes`` of ``COMFY_BASE_DIR``, of ``COMFYUI_PATH``, or of the tree that the worker finds.

    Raises:
        NoDestination: none of these exists.
    """
    comfyui, base = _find_comfyui(environment)
    if chosen := environment.get("COMFY_BASE_DIR"):
        base = Path(chosen).absolute()
        if into is None and not base.is_dir():
            raise NoDestination(f"COMFY_BASE_DIR={chosen!r} is no folder")
    if into is None and base is None:
        raise NoDestination(
            "ComfyUI was not found: set COMFYUI_PATH to its folder, or name the packs' folder with --into"
        )
    custom_nodes = into.expanduser().absolute() if into else (base or Path()) / "custom_nodes"
    return Destination(custom_nodes, comfyui or custom_nodes.parent)


def _find_comfyui(environment: Mapping[str, str]) -> tuple[Path, Path] | tuple[None, None]:
    """The tree that the worker runs, and its base folder. None if there is no tree; then ``--into`` is needed."""
    chosen = environment.get("COMFYUI_PATH")
    try:
        path, _, base = find_tree(Path(chosen) if chosen else None)
    except ComfyNotFound as error:
        if chosen:
            raise NoDestination(str(error)) from None
        return None, None
    return path, base


@contextmanager
def stage(parent: Path | None) -> Iterator[Path]:
    """A temporary folder in ``parent``. Its name ends in ``.disabled``, so that ComfyUI does not load it."""
    with tempfile.TemporaryDirectory(prefix=".installing-", suffix=".disabled", dir=parent) as folder:
        yield Path(folder)


@contextmanager
def swapped(new: Path, target: Path, aside: Path) -> Iterator[None]:
    """Move ``target`` to ``aside`` and ``new`` to ``target``. If the block fails, ``target`` is restored."""
    try:
        if os.path.lexists(target):
            target.rename(aside)
        new.rename(target)
        yield
    except BaseException:
        if not new.exists():
            rmtree(target, ignore_errors=True)
        if os.path.lexists(aside):
            aside.rename(target)
        raise
