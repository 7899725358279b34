"""Where packs are installed: ``custom_nodes`` of the ComfyUI that the worker runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

_PROJECT = Path(__file__).resolve().parents[2]


class NoPlace(Exception):
    """There is no ComfyUI to install into; says how to name one."""


@dataclass(frozen=True)
class Place:
    """``custom_nodes``: the folder that gets the packs. ``comfyui``: ComfyUI's own, which their scripts may ask for."""

    custom_nodes: Path
    comfyui: Path

    def folder(self, name: str) -> Path:
        """Where the pack of that name lies, or will lie.

        A folder that differs in case alone is the same pack's: the registry writes names in lower case, and ComfyUI
        would load both.
        """
        found = sorted(self.custom_nodes.iterdir()) if self.custom_nodes.is_dir() else []
        return next((path for path in found if path.name.lower() == name.lower()), self.custom_nodes / name)


def find_place(into: Path | None, environment: Mapping[str, str]) -> Place:
    """``into``, or ``custom_nodes`` of ``COMFY_BASE_DIR``, of ``COMFYUI_PATH``, or of the tree that the worker finds.

    Raises:
        NoPlace: there is none of them.
    """
    comfyui, base = _find_comfyui(environment)
    if chosen := environment.get("COMFY_BASE_DIR"):
        base = Path(chosen).absolute()
        if into is None and not base.is_dir():
            raise NoPlace(f"COMFY_BASE_DIR={chosen!r} is no folder")
    if into is None and base is None:
        raise NoPlace("ComfyUI was not found: set COMFYUI_PATH to its folder, or name the packs' folder with --into")
    custom_nodes = into.expanduser().absolute() if into else (base or Path()) / "custom_nodes"
    return Place(custom_nodes, comfyui or custom_nodes.parent)


def _find_comfyui(environment: Mapping[str, str]) -> tuple[Path, Path] | tuple[None, None]:
    """The tree and its base folder, found as ``worker/embedded/start/source.py`` finds them."""
    if chosen := environment.get("COMFYUI_PATH"):
        path = Path(chosen).expanduser().absolute()
        if not _is_comfyui(path):
            raise NoPlace(f"COMFYUI_PATH={chosen!r} is no ComfyUI: it has no main.py and execution.py")
        return path, path
    submodule, packaged = _PROJECT / "vendor" / "ComfyUI", _PROJECT / "vendor" / "ComfyUI-packaged"
    if _is_comfyui(submodule):
        return submodule, submodule
    return (packaged, _PROJECT / "comfy_base") if _is_comfyui(packaged) else (None, None)


def _is_comfyui(path: Path) -> bool:
    return (path / "main.py").is_file() and (path / "execution.py").is_file()


@contextmanager
def stage(parent: Path | None) -> Iterator[Path]:
    """A folder in ``parent`` that is removed at the end. ComfyUI loads nothing whose name ends in ``.disabled``."""
    with tempfile.TemporaryDirectory(prefix=".installing-", suffix=".disabled", dir=parent) as folder:
        yield Path(folder)


@contextmanager
def swapped(new: Path, target: Path, aside: Path) -> Iterator[None]:
    """``new`` stands at ``target`` and what was there ``aside``; where the block fails, all is as before."""
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
