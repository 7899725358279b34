"""Finds the modules that are deferred before Python does, and lets it make them without running their code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import ModuleType

from worker.embedded.deferred.modules.group import Group
from worker.embedded.deferred.modules.loaders import EmptyLoader, LoadedLoader, RunningLoader
from worker.embedded.deferred.modules.module import become_plain, fill, group_of

Loaded = Callable[[ModuleType], None]


class DeferringFinder(MetaPathFinder):
    """Defers modules, and tells of modules that are loaded.

    Args:
        modules: names of those that are deferred. Modules of a package that is empty are deferred as well. A name that
            ends in ``.*`` stands for all modules below it, each for itself.
        submodules: full names of modules that stay deferred if they are imported from their package.
        surroundings: a context in which deferred modules run.
    """

    def __init__(
        self,
        modules: Collection[str] = (),
        submodules: Collection[str] = (),
        surroundings: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._surroundings = surroundings
        self._names = frozenset(name for name in modules if not name.endswith(".*"))
        self._below = tuple(name.removesuffix("*") for name in modules if name.endswith(".*"))
        self._submodules = frozenset(submodules)
        self._groups: dict[str, Group] = {}
        self._is_over = False
        self._listeners: list[tuple[str, Loaded]] = []

    def when_loaded(self, name: str, listener: Loaded) -> None:
        """Call ``listener`` with a module as soon as its code has run, and now if it has run.

        Args:
            name: the module's, or ``package.*`` for all modules below a package.
            listener: it may patch the module, which nothing else has used by then.
        """
        self._listeners.append((name, listener))
        for module in [module for each, module in list(sys.modules.items()) if _matches(each, name)]:
            if group_of(module) is None:
                listener(module)

    def defer_no_more(self) -> None:
        """From now on, only what is deferred already stays so."""
        self._is_over = True

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as Python does, and replace its loader if it is deferred or listened to."""
        group = self._group_of(fullname.rpartition(".")[0])
        is_deferred = not self._is_over and (fullname in self._names or fullname.startswith(self._below))
        if not (is_deferred or group or fullname in self._groups or self._is_heard(fullname)):
            return None
        spec = self._find(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        if target is not None:  # ``importlib.reload``.
            fill(target)
            return spec
        group = group or self._groups.get(fullname)
        group = None if group is not None and group.is_filled() else group
        made = group.made(fullname) if group is not None and group.is_mine() else None
        can_wait = isinstance(spec.loader, SourceFileLoader | SourcelessFileLoader) and not (made or self._is_over)
        if can_wait and group is not None and group.is_empty():
            spec.loader = EmptyLoader(spec.loader, group)
        elif can_wait and is_deferred and group is None:
            group = self._groups[fullname] = Group(fullname, self._submodules, self._surroundings, become_plain)
            spec.loader = EmptyLoader(spec.loader, group)
        else:
            spec.loader = self._now(spec, group, made)
        return spec

    def _group_of(self, package: str) -> Group | None:
        group = group_of(sys.modules.get(package))
        return group if group is not None and self._groups.get(group.root) is group else None  # Not another finder's.

    def _now(self, spec: ModuleSpec, group: Group | None, made: ModuleType | None) -> Loader:
        if group is not None and not group.is_mine():  # A package's own code runs before that of its modules.
            group.fill()
            # And may have imported this one. Python would run it again if it found it here now.
            if (found := sys.modules.pop(spec.name, None)) is not None:
                return LoadedLoader(spec.loader, found)
        return RunningLoader(spec.loader, made, self._loaded)

    def _find(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                return spec
        return None

    def _is_heard(self, name: str) -> bool:
        return any(_matches(name, wanted) for wanted, _ in self._listeners)

    def _loaded(self, module: ModuleType) -> None:
        for wanted, listener in self._listeners:
            if _matches(module.__name__, wanted):
                listener(module)


def _matches(name: str, wanted: str) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith(".*") else name == wanted
