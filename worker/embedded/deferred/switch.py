"""``DEFER_IMPORTS``: whether ComfyUI's start defers what it does not need, and what must be told of what comes late."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
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
from worker.embedded.start.cache_folders import cache_folders


class LateImports:
    """What is imported after ComfyUI's start, and who hears of it.

    Args:
        is_on: whether imports are deferred. If not, Python and ComfyUI import everything as they do.
        tree: ComfyUI's folder.
    """

    def __init__(self, *, is_on: bool, tree: Path) -> None:
        self._is_on, self._tree = is_on, tree
        self._finder = DeferringFinder(MODULES, SUBMODULES, self._surroundings) if is_on else DeferringFinder()
        self._core = CoreNames()
        self._is_over = False
        self._listeners: list[Callable[[Classes], None]] = []

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
            yield
            return
        index = NodeIndex(cache_folders(), self._tree)
        files = NodeFiles(main.nodes, self._surroundings, self._tell)
        with deferring_classes(main, index, files, self._end_of_start):
            yield
        self._end_of_start()

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
