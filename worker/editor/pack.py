"""A small node pack that the editor's ComfyUI loads, for what no flag of ComfyUI says.

It lets ComfyUI read the network volume's models, by the worker's own code, and end on SIGTERM as on Ctrl-C: in a
container it is process 1, and the kernel keeps signals without a handler from that one.
"""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path
from typing import Any

from worker.embedded.files.model_folders import add_volume

NAME = "comfy_worker"
VOLUME = "NETWORK_VOLUME_PATH"


def link_pack(folder: Path) -> Path:
    """Make ``folder``, which holds this pack and no other. Returns ``folder``."""
    folder.mkdir()
    (folder / NAME).symlink_to(Path(__file__).with_name(NAME), target_is_directory=True)
    return folder


def before_packs() -> None:
    """Called in ComfyUI's process before it imports its nodes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    after_packs()
    if volume := os.environ.get(VOLUME):
        _put_behind_own(importlib.import_module("folder_paths"), Path(volume))


def after_packs() -> None:
    """Called when the other packs are imported, since they add model folders of their own."""
    if volume := os.environ.get(VOLUME):
        add_volume(importlib.import_module("folder_paths"), Path(volume))


def _put_behind_own(folder_paths: Any, volume: Path) -> None:
    """Put the volume's folders where the worker has them: behind the tree's own, and before those of other files.

    If several folders have a model, the first one counts.
    """
    for paths, _ in folder_paths.folder_names_and_paths.values():
        own = [index for index, path in enumerate(paths) if Path(path).is_relative_to(folder_paths.models_dir)]
        moved = [path for path in paths[own[-1] + 1 :] if Path(path).is_relative_to(volume / "models")] if own else []
        for path in moved:
            paths.remove(path)
        if moved:
            paths[own[-1] + 1 : own[-1] + 1] = moved
