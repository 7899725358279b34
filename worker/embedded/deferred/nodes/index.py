"""Which node classes ComfyUI's own files have: recorded when they are loaded, and kept for later starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

_FORMAT = 1
# Where the code is that decides which classes the files have. The rest of a tree is models, packs and tests.
_FOLDERS = ("comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras", "app", "utils")


@dataclass(frozen=True)
class NodeFile:
    """A file whose classes can be loaded later.

    ``names``: those of its classes, in its order. ``shown``: the names that ComfyUI's page shows, for those with one.
    """

    names: list[str] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)


class NodeIndex:
    """The node files of a ComfyUI tree, by their paths inside of it.

    An index is for one state of the tree and of the installed packages. Another one has another key, and so no entries.

    Args:
        folder: where indexes are kept.
        tree: ComfyUI's folder.
    """

    def __init__(self, folder: Path, tree: Path) -> None:
        self._tree = tree.resolve()  # As ComfyUI's module names its own files.
        self._file = folder / f"nodes-{_key(self._tree)}.json"
        self._is_kept = True
        self._files: dict[str, NodeFile] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            files = json.loads(self._file.read_text("utf-8"))["files"]
            self._files = {path: NodeFile(**entry) for path, entry in files.items()}

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
        text = json.dumps({"files": {path: asdict(file) for path, file in self._files.items()}})
        part = self._file.with_name(f"{self._file.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(text, "utf-8")
            part.replace(self._file)


def _key(tree: Path) -> str:
    lines = [f"{_FORMAT} {platform.python_version()} {tree}", *sorted(_sources(tree)), *sorted(_packages())]
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


def _packages() -> Iterator[str]:
    """The names and versions of all installed packages."""
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for name in os.listdir(folder or "."):  # noqa: PTH208 - this runs at each start.
                if name.endswith((".dist-info", ".egg-info", ".egg-link", ".pth")):
                    yield f"{folder} {name}"
