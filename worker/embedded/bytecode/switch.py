"""``BYTECODE_CACHE``: whose compiled code is kept, and in which folders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from worker.embedded.bytecode.loader import BytecodeCache
from worker.embedded.bytecode.place import Place, ending
from worker.embedded.start.cache_folders import cache_folders
from worker.embedded.start.extra_paths import extra_folders
from worker.embedded.start.launch import Launch
from worker.settings import Settings


def keep_bytecode(settings: Settings, launch: Launch) -> None:
    """Keep the compiled code of ComfyUI's tree and of node packs from now on, unless that is switched off."""
    if settings.bytecode_cache == "auto":
        with contextlib.suppress(NotImplementedError):  # Some Pythons have no compiled files.
            ending()
            roots = {f"{each}{os.sep}" for folder in _sources(settings, launch) for each in (folder, folder.resolve())}
            BytecodeCache(list(places(launch)), tuple(roots)).begin()


def places(launch: Launch) -> Iterator[Place]:
    """The folders. None lies on the network volume, unless node packs are loaded from there as well: this is code."""
    volume = launch.volume
    if volume is not None and launch.packs_on_volume:
        yield Place(volume / ".cache" / "comfy-worker" / "bytecode", volume)
    for folder in (each / "bytecode" for each in cache_folders()):
        if volume is None or launch.packs_on_volume or not folder.resolve().is_relative_to(volume.resolve()):
            yield Place(folder)


def _sources(settings: Settings, launch: Launch) -> Iterator[Path]:
    """The folders whose source files are meant."""
    yield launch.source.path
    yield launch.source.base / "custom_nodes"
    if launch.volume is not None and launch.packs_on_volume:
        yield launch.volume / "custom_nodes"
    for kind, folder, _ in extra_folders(launch.source, settings.comfy_args):
        if kind == "custom_nodes":
            yield folder
