"""A small node pack that the editor's ComfyUI loads, for what no flag of ComfyUI says.

It has no nodes. It lets ComfyUI read the network volume's models, by the worker's own code, and end on SIGTERM as on
Ctrl-C: in a container it is process 1, and the kernel keeps signals without a handler from that one.
"""

from __future__ import annotations

import importlib
import signal
from pathlib import Path
from typing import Any

from worker.embedded.files.model_folders import add_volume
from worker.embedded.start.source import PROJECT

NAME = "comfy_worker"
_BEGIN = f"import sys\n\nif {str(PROJECT)!r} not in sys.path:\n    sys.path.append({str(PROJECT)!r})\n"
_BEFORE = "from worker.editor.pack import before_packs\n\nbefore_packs({volume!r})\n"
_AFTER = "from worker.editor.pack import after_packs\n\nNODE_CLASS_MAPPINGS = {{}}\nafter_packs({volume!r})\n"


def write_pack(folder: Path, volume: Path | None) -> Path:
    """Write the pack into ``folder``, for a ComfyUI that has this ``volume``. Returns ``folder``."""
    pack, shown = folder / NAME, str(volume) if volume else None
    pack.mkdir(parents=True)
    (pack / "prestartup_script.py").write_text(_BEGIN + _BEFORE.format(volume=shown), encoding="utf-8")
    (pack / "__init__.py").write_text(_BEGIN + _AFTER.format(volume=shown), encoding="utf-8")
    return folder


def before_packs(volume: str | None) -> None:
    """Called in ComfyUI's process before it imports its nodes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    after_packs(volume)
    if volume is not None:
        _put_behind_own(importlib.import_module("folder_paths"), Path(volume))


def after_packs(volume: str | None) -> None:
    """Called when the other packs are imported, since they add model folders of their own."""
    if volume is not None:
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
