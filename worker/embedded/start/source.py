"""Finds the ComfyUI tree, and the folder with its models and custom nodes. It imports nothing from ComfyUI."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ComfyNotFound, StartError

PROJECT = Path(__file__).resolve().parents[3]
SUBMODULE = PROJECT / "vendor" / "ComfyUI"
PACKAGED = PROJECT / "vendor" / "ComfyUI-packaged"
PACKAGED_BASE = PROJECT / "comfy_base"


@dataclass(frozen=True)
class ComfySource:
    """A ComfyUI tree and its base directory. ``origin``: ``COMFYUI_PATH``, ``submodule`` or ``packaged copy``."""

    path: Path
    base: Path
    version: str
    origin: str


def find_source(comfyui_path: Path | None, base_dir: Path | None) -> ComfySource:
    """Find the tree: ``comfyui_path`` if given, then the submodule, then the packaged copy.

    Raises:
        ComfyNotFound: there is no tree, or ``comfyui_path`` is not a ComfyUI tree.
        StartError: the base directory cannot be used.
    """
    path, origin, default_base = find_tree(comfyui_path)
    base = (base_dir or default_base).absolute()
    _prepare_base(base, chosen=base_dir is not None)
    return ComfySource(path, base, _version(path), origin)


def find_tree(comfyui_path: Path | None) -> tuple[Path, str, Path]:
    """The tree, its origin and its default base directory. Writes nothing.

    Raises:
        ComfyNotFound: there is no tree, or ``comfyui_path`` is not a ComfyUI tree.
    """
    if comfyui_path is not None:
        path = comfyui_path.expanduser().absolute()
        if not _is_tree(path):
            raise ComfyNotFound(f"COMFYUI_PATH={str(comfyui_path)!r} is no ComfyUI: it has no main.py and execution.py")
        return path, "COMFYUI_PATH", PACKAGED_BASE if path == PACKAGED else path
    if _is_tree(SUBMODULE):
        return SUBMODULE, "submodule", SUBMODULE
    if _is_tree(PACKAGED):
        return PACKAGED, "packaged copy", PACKAGED_BASE
    raise ComfyNotFound("ComfyUI was not found: run scripts/install, or set COMFYUI_PATH to a ComfyUI tree")


def enter(source: ComfySource) -> None:
    """Let this process find ComfyUI's modules and folder."""
    sys.path.insert(0, str(source.path))
    # Nothing may be written under the ComfyUI tree: see worker/embedded/bytecode.
    sys.dont_write_bytecode = True
    # Some packs look for ComfyUI's folder here. Otherwise they would take the folder of __main__.
    os.environ["COMFYUI_PATH"] = str(source.path)


def _is_tree(path: Path) -> bool:
    return (path / "main.py").is_file() and (path / "execution.py").is_file()


def _prepare_base(base: Path, *, chosen: bool) -> None:
    """Make the folders that ComfyUI needs. Without ``custom_nodes``, for example, ComfyUI would raise."""
    if chosen and not base.is_dir():
        raise StartError(f"COMFY_BASE_DIR={str(base)!r} is no folder")
    try:
        for name in ("models", "custom_nodes", "input"):
            (base / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{base} needs the folders models, custom_nodes and input ({error.strerror})") from None


def _version(path: Path) -> str:
    try:
        text = (path / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    found = re.search(r"__version__\s*=\s*[\"']([^\"']+)", text)
    return found.group(1) if found else "unknown"
