"""What others can tell of a node pack's import."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.embedded.deferred.packs.observed.lookups import modules_of
from worker.embedded.deferred.packs.observed.namespaces import Namespaces
from worker.embedded.deferred.packs.observed.owner import is_below
from worker.embedded.deferred.packs.observed.process import ProcessState


def effects(main: Any, path: str, spaces: Namespaces, before: ProcessState, written: set[str]) -> Iterator[str]:
    """A line for each effect.

    Args:
        main: ComfyUI's ``main`` module.
        path: the pack's.
        spaces, before: pictures of what there was before.
        written: files that were opened for writing, and folders that were made.
    """
    yield from before.changes(ProcessState(main))
    yield from spaces.changes()
    own = str(Path(path).with_suffix("")), path.replace(".", "_x_"), path  # As ComfyUI and packs call their modules.
    others = (name for name in modules_of(path) if not name.startswith(own))
    yield from (f"its modules are found as {name}" for name in sorted(others)[:3])
    base = main.folder_paths.base_path
    for file in sorted(written):
        if is_below(file, base) and not (is_below(file, path) or "__pycache__" in file):
            yield f"it writes {os.path.relpath(file, base)} in ComfyUI's folder"


def use_up() -> None:
    """Do once what packs commonly cause and nobody notices, so that it does not count as an effect."""
    from PIL import Image

    Image.init()
