"""Which node classes ComfyUI's own files have: recorded when they are loaded, and kept for later starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from worker.embedded.deferred.nodes.packages import installed, loaded_packages, missing
from worker.embedded.start.cache_folders import keep

# Where the code is that decides which classes the files have. The rest of a tree is models, packs and tests.
_FOLDERS = ("comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras", "app", "utils")

_RULES = "3"  # By which files are added: another number whenever these change.


@dataclass(frozen=True)
class NodeFile:
    """A file whose classes can be loaded later.

    Attributes:
        names: those of its classes, in its order.
        shown: the names that ComfyUI's page shows, for the classes that have one.
        absent: packages that it would import, and that are not installed.
    """

    names: list[str] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


class NodeIndex:
    """The node files of a ComfyUI tree, by their paths inside of it.

    An index is for one state of the tree, and for the packages that were loaded when it was made. It is empty for every
    other state.

    Args:
        folders: where indexes are kept. A new one is written into the first of them that can be written.
        tree: ComfyUI's folder.

    Attributes:
        tree_state: stands for the sources of the tree, and the version of Python.
    """

    def __init__(self, folders: Sequence[Path], tree: Path) -> None:
        self._tree = tree.resolve()  # As ComfyUI's module names its own files.
        self.tree_state = _state(self._tree)
        name = f"nodes-{self.tree_state}.json"
        self._places = [folder / name for folder in folders]
        self._is_kept = True
        self._files: dict[str, NodeFile] = {}
        for place in self._places:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                self._files = _fitting(json.loads(place.read_text("utf-8")))
                return

    def __getitem__(self, path: str) -> NodeFile | None:
        return self._files.get(os.path.relpath(path, self._tree))

    def add(self, path: str, file: NodeFile) -> None:
        """Add a file that is loaded at its place."""
        self._files[os.path.relpath(path, self._tree)] = file
        self._is_kept = False

    def keep(self) -> None:
        """Write what was added, for later starts. Where nothing can be written, each start loads everything."""
        if self._is_kept:
            return
        files = {path: asdict(file) for path, file in self._files.items()}
        text = json.dumps({"packages": sorted(loaded_packages()), "files": files})
        keep(self._places, text.encode())


def _fitting(kept: Any) -> dict[str, NodeFile]:
    """The files of an index, if it was made with the packages that are installed.

    Raises:
        ValueError: it was made with others.
        KeyError, TypeError, AttributeError: it is no index.
    """
    files = {path: NodeFile(**entry) for path, entry in kept["files"].items()}
    absent = {name for file in files.values() for name in file.absent}
    if not installed().issuperset(kept["packages"]) or not all(map(missing, absent)):
        raise ValueError
    return files


def _state(tree: Path) -> str:
    lines = [_RULES, platform.python_version(), str(tree), *sorted(_sources(tree))]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _sources(tree: Path) -> Iterator[str]:
    """A line for each source file, with its size and its time in whole seconds: images keep no parts of seconds."""
    waiting = [os.path.join(tree, name) for name in _FOLDERS]  # noqa: PTH118 - this runs at each start.
    for entry in os.scandir(tree):
        if entry.name.endswith(".py"):
            yield _line(entry)
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    yield _line(entry)
                elif entry.name != "__pycache__" and entry.is_dir():
                    waiting.append(entry.path)


def _line(entry: os.DirEntry[str]) -> str:
    status = entry.stat()
    return f"{entry.path} {status.st_size} {int(status.st_mtime)}"
