"""Imports each node pack as ComfyUI's start does, and notes whether others can tell that it was imported."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.embedded.deferred.nodes.node_files import NodeFiles, Watched
from worker.embedded.deferred.packs.content import digest, stamp
from worker.embedded.deferred.packs.index import PackEntry, installed_packs
from worker.embedded.deferred.packs.observed.effects import effects, use_up
from worker.embedded.deferred.packs.observed.files import OpenedFiles
from worker.embedded.deferred.packs.observed.lookups import WatchedMappings, used_packs
from worker.embedded.deferred.packs.observed.namespaces import Namespaces
from worker.embedded.deferred.packs.observed.owner import is_below
from worker.embedded.deferred.packs.observed.process import ProcessState

_MOST_REASONS = 20


class PackObserver:
    """Loads packs in a process that only makes their index.

    Attributes:
        entries: what was found, by the pack's path.
        tree_state: of ComfyUI's tree; empty before it has begun.
    """

    def __init__(self) -> None:
        self.entries: dict[str, PackEntry] = {}
        self.tree_state = ""
        self._main: Any = None
        self._files: NodeFiles
        self._opened: OpenedFiles | None = None

    def begin(self, main: Any, files: NodeFiles, tree_state: str) -> None:
        """Look at what packs of this ComfyUI do from now on."""
        self._main, self._files, self._opened, self.tree_state = main, files, OpenedFiles(), tree_state
        mappings = main.nodes.NODE_CLASS_MAPPINGS
        main.nodes.NODE_CLASS_MAPPINGS = WatchedMappings(dict.copy(mappings), files)
        use_up()

    async def load(self, _load: Callable[..., Awaitable[bool]], path: str, *args: Any, **kwargs: Any) -> bool:
        """Load a pack: see ``LoadPack``."""
        nodes, opened = self._main.nodes, self._opened
        classes, shown, web, folders = (dict[str, Any]() for _ in range(4))
        known = dict.copy(nodes.NODE_CLASS_MAPPINGS)
        spaces, before = Namespaces(), ProcessState(self._main)
        load = self._files.into(classes, shown, EXTENSION_WEB_DIRS=web, LOADED_MODULE_DIRS=folders)
        watched = Watched(load(path, *args, **kwargs))
        reasons, is_loaded, began = list[str](), False, time.perf_counter()
        assert opened is not None  # noqa: S101 - ``begin`` was called.
        nodes.NODE_CLASS_MAPPINGS.begin()
        try:
            with opened.noted() as (read, written):
                is_loaded = bool(await watched)
        finally:
            seconds = time.perf_counter() - began
            asked, listed = nodes.NODE_CLASS_MAPPINGS.end()
            reasons += [] if is_loaded else ["it cannot be imported here"]
            reasons += ["its entry point waits for something"] if watched.waited else []
            reasons += self._looks(asked, listed)
            reasons += (
                [] if dict.copy(nodes.NODE_CLASS_MAPPINGS) == known else ["it changes NODE_CLASS_MAPPINGS itself"]
            )
            reasons += effects(self._main, path, spaces, before, written)
            nodes.NODE_CLASS_MAPPINGS.update(classes)
            nodes.NODE_DISPLAY_NAME_MAPPINGS.update(shown)
            nodes.EXTENSION_WEB_DIRS.update(web)
            nodes.LOADED_MODULE_DIRS.update(folders)
            reasons += _cannot_wait(path, classes, shown)
            self.entries[path] = PackEntry(
                [str(name) for name in classes], {str(name): str(text) for name, text in shown.items()},
                web, folders, list(dict.fromkeys(reasons))[:_MOST_REASONS], round(seconds, 3), _inside(path, read),
            )  # fmt: skip
        return is_loaded

    def finish(self) -> dict[str, PackEntry]:
        """The entries of all installed packs, once they are loaded."""
        packs = installed_packs(self._main)
        for path in packs:
            for other in used_packs(path, packs):
                self._add_reason(path, f"it uses modules of {Path(other).name}")
                self._add_reason(other, f"{Path(path).name} uses its modules")
            if path not in self.entries:
                self.entries[path] = PackEntry(reasons=["ComfyUI has not loaded it"])
        return {
            path: replace(entry, stamp=stamp(path, entry.read), digest=digest(path, entry.read))
            for path, entry in self.entries.items()
            if path in packs
        }

    def _add_reason(self, path: str, reason: str) -> None:
        if path in self.entries and reason not in self.entries[path].reasons:
            self.entries[path] = replace(self.entries[path], reasons=[*self.entries[path].reasons, reason])

    def _looks(self, asked: set[Any], listed: bool) -> Iterator[str]:
        """What others than ComfyUI's own classes it has asked for. Those are there at any time."""
        mappings, packs = self._main.nodes.NODE_CLASS_MAPPINGS, {n for e in self.entries.values() for n in e.names}
        if listed:
            yield "it looks at all node classes"
        if others := sorted(str(name) for name in asked if name in packs or not dict.__contains__(mappings, name)):
            yield f"it looks for node classes of other packs: {', '.join(others[:3])}"


def _cannot_wait(path: str, classes: dict[Any, Any], shown: dict[Any, Any]) -> Iterator[str]:
    if not classes:
        yield "it has no node classes"
    if (Path(path) / "prestartup_script.py").is_file():
        yield "it has a prestartup script"
    if not all(isinstance(each, str) for each in (*classes, *shown, *shown.values())):
        yield "a name of its classes is no text"


def _inside(path: str, read: set[str]) -> list[str]:
    """The files of a pack that were read, beside its code."""
    files = sorted(each for each in read if is_below(each, path) and Path(each).is_file())
    return [os.path.relpath(each, path) for each in files if not each.endswith((".py", ".pyc"))]
