"""The loaders that stand before a module's own, and do with the module what deferring it asks for."""

from __future__ import annotations

from collections.abc import Callable
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from worker.embedded.deferred.modules.group import Group
from worker.embedded.deferred.modules.module import defer


class EmptyLoader(Loader):
    """Makes a module, and leaves it empty. From then on, the module has its own loader.

    Args:
        loader: the module's own loader.
        group: fills the module.
    """

    def __init__(self, loader: Any, group: Group) -> None:
        self._loader, self._group = loader, group

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""
        _give_back(module, self._loader)
        defer(module, self._group)


class RunningLoader(Loader):
    """Runs a module's code, and tells of it.

    Args:
        loader: the module's own loader.
        made: the empty module that is to be filled, or None.
        loaded: called with the module once its code has run.
    """

    def __init__(self, loader: Any, made: ModuleType | None, loaded: Callable[[ModuleType], None]) -> None:
        self._loader, self._made, self._loaded = loader, made, loaded

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The empty module, which others hold already; otherwise a new one."""
        if self._made is not None:
            return self._made
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        _give_back(module, self._loader)
        self._loader.exec_module(module)
        self._loaded(module)


class LoadedLoader(Loader):
    """Gives a module that has run meanwhile.

    Args:
        loader: the module's own loader.
        module: the module.
    """

    def __init__(self, loader: Any, module: ModuleType) -> None:
        self._loader, self._module = loader, module

    def create_module(self, _spec: ModuleSpec) -> ModuleType:
        """The module."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""
        _give_back(module, self._loader)


def _give_back(module: ModuleType, loader: Any) -> None:
    spec: Any = module.__spec__
    spec.loader = module.__loader__ = loader
