"""A module that is empty until something of it is used.

It is the module's one object from the start: whoever imports it early and whoever imports it late has the same one.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from worker.embedded.deferred.modules.group import Group

# What Python's import gives a module before it runs its code.
_GIVEN = frozenset({"__name__", "__spec__", "__path__", "__file__", "__loader__", "__package__", "__cached__"})
# Python's own ``warnings`` asks each module for it.
_NEVER_THERE = "__warningregistry__"
_groups: WeakKeyDictionary[ModuleType, Group] = WeakKeyDictionary()


class DeferredModule(ModuleType):
    """An empty module. Each use of it, but an import, fills it first. Then it becomes a plain module."""

    def __getattribute__(self, name: str) -> Any:
        plain = ModuleType.__getattribute__
        group = _groups.get(self)
        if group is None or group.is_mine() or name in _GIVEN or name in ("__class__", _NEVER_THERE):
            return plain(self, name)
        full = f"{plain(self, '__name__')}.{name}"
        # The package's own code may give the name of any other module of it to something else.
        if full in group.submodules:
            __import__(full)
            return sys.modules[full]
        group.fill()
        return plain(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Python's import sets a submodule that it has loaded.
        if name not in _GIVEN and name != "__class__" and not _is_submodule(f"{self.__name__}.{name}", value):
            fill(self)
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        fill(self)
        ModuleType.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        fill(self)
        return list(ModuleType.__dir__(self))


def _is_submodule(full: str, value: Any) -> bool:
    return isinstance(value, ModuleType) and sys.modules.get(full) is value


def defer(module: ModuleType, group: Group) -> None:
    """Leave a module empty, which Python has just made and not run yet, until one of its group is used."""
    _groups[module] = group
    group.add(module)
    module.__class__ = DeferredModule


def become_plain(module: ModuleType) -> None:
    """A module that is filled needs no further care."""
    _groups.pop(module, None)
    if type(module) is DeferredModule:
        module.__class__ = ModuleType  # type: ignore[assignment]


def group_of(module: ModuleType | None) -> Group | None:
    """The group of a module that is deferred and not filled yet; None for every other."""
    return None if module is None else _groups.get(module)


def fill(module: ModuleType) -> None:
    """Fill a module if it is deferred.

    Raises: what its code raises. Then it is empty again, and its next use tries again.
    """
    group = _groups.get(module)
    if group is not None:
        group.fill()
