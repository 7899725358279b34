"""``DEFER_IMPORTS``, ``LAZY_CUSTOM_NODES``: what ComfyUI's start defers, and what must be told of what comes late."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

from worker.embedded.deferred.modules.core_names import CoreNames
from worker.embedded.deferred.modules.finder import DeferringFinder
from worker.embedded.deferred.modules.packages import MODULES, SUBMODULES, register_torchvision_ops
from worker.embedded.deferred.modules.torch_state import usual_torch_state
from worker.embedded.deferred.nodes.classes import can_defer, deferring_classes
from worker.embedded.deferred.nodes.index import NodeIndex
from worker.embedded.deferred.nodes.mapping import loaded_classes
from worker.embedded.deferred.nodes.node_files import Classes, NodeFiles
from worker.embedded.deferred.packs.index import StaleIndex, installed_packs, read_index
from worker.embedded.deferred.packs.late import LatePacks
from worker.embedded.deferred.packs.observed.observer import PackObserver
from worker.embedded.deferred.packs.places import index_folders
from worker.embedded.start.cache_folders import cache_folders
from worker.embedded.start.launch import Launch
from worker.events import Notice, Say
from worker.settings import Settings


class LateImports:
    """What is imported after ComfyUI's start, and who hears of it.

    Args:
        settings: whether imports are deferred. If not, Python and ComfyUI import everything as they do.
        launch: it names ComfyUI's folder.
        observer: looks at the node packs; None: nobody does.
        say: called with a warning if packs cannot wait, though they should.
    """

    def __init__(self, settings: Settings, launch: Launch, say: Say, observer: PackObserver | None = None) -> None:
        self._is_on, self._launch, self._say = settings.defer_imports == "auto", launch, say
        self._waits, self._observer = settings.lazy_custom_nodes and observer is None, observer
        is_on = self._is_on
        self._finder = DeferringFinder(MODULES, SUBMODULES, self._surroundings) if is_on else DeferringFinder()
        self._core = CoreNames()
        self._is_over = False
        self._listeners: list[Callable[[Classes], None]] = []
        self.packs = LatePacks(self._core)

    def begin(self) -> None:
        """Defer from now on. Call it before ComfyUI and torch are imported."""
        if self._is_on:
            sys.meta_path.insert(0, self._finder)

    def end_of_core(self) -> None:
        """Do what deferred packages would have done for others."""
        if self._is_on:
            register_torchvision_ops(importlib.import_module("torch"))

    def when_loaded(self, name: str, listener: Callable[[ModuleType], None]) -> None:
        """As ``DeferringFinder.when_loaded``."""
        self._finder.when_loaded(name, listener)

    @contextlib.contextmanager
    def node_classes(self, main: Any) -> Iterator[None]:
        """Within this context, ComfyUI's own node files are passed over."""
        if not self._is_on or not can_defer(main.nodes):
            self._complain("ComfyUI's own node files are loaded at the start as well")
            yield
            return
        index = NodeIndex(cache_folders(), self._launch.source.path)
        files = NodeFiles(main.nodes, self._surroundings, self._tell)
        with deferring_classes(main, index, files, self._end_of_start, self._load_pack):
            self._begin_packs(main, files, index.tree_state)
            yield
        self._end_of_start()

    def _load_pack(self, *args: Any, **kwargs: Any) -> Awaitable[bool]:
        return (self._observer or self.packs).load(*args, **kwargs)

    def _begin_packs(self, main: Any, files: NodeFiles, tree_state: str) -> None:
        if self._observer is not None:
            self._observer.begin(main, files, tree_state)
        elif self._waits and (installed := installed_packs(main)):
            try:
                self.packs.begin(main, files, read_index(index_folders(self._launch), tree_state, installed))
            except StaleIndex as stale:
                self._complain(f"{stale} ('python -m worker index' makes it)")

    def _complain(self, why: str) -> None:
        if self._waits:
            text = f"LAZY_CUSTOM_NODES=true, but all node packs are imported at the start: {why}"
            self._say(Notice(text, is_warning=True))

    def _end_of_start(self) -> None:
        """ComfyUI's own start is over: what packs and jobs import is imported as ever."""
        if not self._is_over:
            self._is_over = True
            self._finder.defer_no_more()
            self._core.note_all()
            self._finder.when_loaded("comfy.*", self._core.note)
            self._finder.when_loaded("comfy_extras.*", self._core.note)

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """What late code finds: the start's."""
        with usual_torch_state(), self._core.as_at_the_start():
            yield

    def when_classes(self, nodes: Any, listener: Callable[[Classes], None]) -> None:
        """Call ``listener`` with the node classes that are loaded, and with those that are loaded later.

        Args:
            nodes: ComfyUI's ``nodes`` module.
            listener: it gets classes by their names.
        """
        self._listeners.append(listener)
        listener(dict(loaded_classes(nodes.NODE_CLASS_MAPPINGS)))

    def _tell(self, classes: Classes) -> None:
        for listener in self._listeners:
            listener(classes)
