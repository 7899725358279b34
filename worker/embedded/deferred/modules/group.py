"""Modules that are filled together: a package, and those of its modules that were imported while it was empty.

They run in the order in which they were imported, as they would have without being deferred. Packages whose modules
import each other can be run in no other one.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from types import ModuleType
from typing import Any


class Group:
    """A deferred package, or a deferred module that is none.

    Args:
        root: the package's name.
        submodules: full names that its code gives to its modules only. They stay deferred in ``from package import``.
        surroundings: a context in which the modules run.
        done: called for each module that is filled.
    """

    def __init__(
        self,
        root: str,
        submodules: frozenset[str],
        surroundings: Callable[[], AbstractContextManager[None]],
        done: Callable[[ModuleType], None],
    ) -> None:
        self.root, self.submodules = root, submodules
        self._surroundings, self._done = surroundings, done
        self._empty: dict[str, ModuleType] = {}
        self._given: dict[str, dict[str, object]] = {}
        self._thread: int | None = None

    def add(self, module: ModuleType) -> None:
        """Add a module that Python has made, and that is empty."""
        self._empty[module.__name__] = module
        self._given[module.__name__] = dict(vars_of(module))

    def is_mine(self) -> bool:
        """Whether this thread fills the group now."""
        return self._thread == threading.get_ident()

    def is_empty(self) -> bool:
        """Whether nothing has begun to fill it."""
        return self._thread is None

    def is_filled(self) -> bool:
        """Whether all its modules have run."""
        return not self._empty

    def made(self, name: str) -> ModuleType | None:
        """The module of this name that others hold already, and that is to be filled; None if there is none."""
        return self._empty.get(name)

    def fill(self) -> None:
        """Run the modules, once. Another thread waits until they have run.

        Raises: what their code raises.
        """
        if self.is_mine():
            return
        with import_lock(self.root):
            if self._thread is None and self._empty:
                self._thread = threading.get_ident()
                try:
                    with self._surroundings():
                        self._run()
                finally:
                    self._thread = None

    def _run(self) -> None:
        # Out of Python's sight, so that each import that the package's own code makes runs what it names.
        waiting = dict(self._empty)
        for name, module in waiting.items():
            sys.modules.pop(name, None)
            self._make_empty(name, module)
        try:
            for name in waiting:
                importlib.import_module(name)
        finally:
            for name, module in waiting.items():
                self._finish(name, module)

    def _finish(self, name: str, module: ModuleType) -> None:
        found = sys.modules.get(name)
        if found is None:  # Its code raised, or was not reached.
            self._make_empty(name, module)
            sys.modules[name] = module
            return
        if found is not module:  # Its code has put something else in its place.
            vars_of(module)["__getattr__"] = lambda wanted: getattr(sys.modules[name], wanted)
        del self._empty[name], self._given[name]
        self._done(module)

    def _make_empty(self, name: str, module: ModuleType) -> None:
        space = vars_of(module)
        space.clear()
        space.update(self._given[name])


@contextmanager
def import_lock(name: str) -> Iterator[None]:
    """The lock that Python's import takes for this module. It notices if two threads wait for each other."""
    bootstrap: Any = importlib._bootstrap
    with ExitStack() as stack:
        with suppress(bootstrap._DeadlockError):  # As Python's import does: this thread sees what is there so far.
            stack.enter_context(bootstrap._ModuleLockManager(name))
        yield


def vars_of(module: ModuleType) -> dict[str, object]:
    """A module's names, which fills no module."""
    names: dict[str, object] = ModuleType.__getattribute__(module, "__dict__")
    return names
