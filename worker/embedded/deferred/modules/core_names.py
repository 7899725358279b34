"""Lets code that is imported late bind the functions and classes that it would have bound at the start.

A node pack may replace a function of ComfyUI, for good or while a node runs. Modules that were imported before keep
what they have bound, and a module that is imported later must do so as well.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from worker.embedded.deferred.modules.group import vars_of
from worker.embedded.deferred.modules.module import group_of

# What runs graphs is left out: late code binds nothing of it, and it must keep the worker's guards.
_FOLDERS = ("comfy", "comfy_api", "comfy_api_nodes", "comfy_extras", "app", "utils")
_MODULES = ("nodes", "node_helpers", "folder_paths", "latent_preview", "server")
_TORCH = ("torch", "torch.nn", "torch.nn.functional")
_BOUND = (FunctionType, BuiltinFunctionType, type)
Replaced = tuple[tuple[dict[str, Any], str, Any], ...]
"""Names that had other values at some later time: ``space[name]`` was ``value``."""


class CoreNames:
    """What the functions and classes of ComfyUI were at the end of its own start."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}

    def note_all(self) -> None:
        """Note those of all modules of ComfyUI and torch that are loaded."""
        for name, module in list(sys.modules.items()):
            if is_core_module(name) or name in _TORCH:
                self.note(module)

    def note(self, module: ModuleType) -> None:
        """Note those of one module, whose code has just run. An empty one has none."""
        if group_of(module) is None:
            space = vars_of(module)
            bound = {name: value for name, value in space.items() if isinstance(value, _BOUND)}
            self._names[str(space["__name__"])] = space, bound

    def replaced(self) -> Replaced:
        """Those that are others now, such as after a node pack was imported."""
        return tuple(
            (space, name, space[name])
            for space, bound in list(self._names.values())
            for name, value in bound.items()
            if name in space and space[name] is not value
        )

    @contextmanager
    def as_at_the_start(self, but: Replaced = ()) -> Iterator[None]:
        """Within this context, they are what they were. Afterwards they are again what they have become.

        ``but``: those that are to be something else, from ``replaced``.
        """
        others = {(id(space), name): value for space, name, value in but}
        wanted = (
            (space, name, others.get((id(space), name), value))
            for space, bound in list(self._names.values())
            for name, value in bound.items()
        )
        replaced = [
            (space, name, value, space[name])
            for space, name, value in wanted
            if name in space and space[name] is not value
        ]
        for space, name, value, _ in replaced:
            space[name] = value
        try:
            yield
        finally:
            for space, name, value, now in replaced:
                if space.get(name) is value:
                    space[name] = now


def is_core_module(name: str) -> bool:
    """Whether a module of this name is ComfyUI's."""
    return name.partition(".")[0] in _FOLDERS or name in _MODULES
