"""Values that can be compared with what they were earlier: by identity, and containers by what they hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import NoneType
from typing import Any

_PLAIN = (str, int, float, bool, bytes, NoneType)
_MOST = 20_000  # Items of a container. No list of choices, routes or handlers has as many.


class _Same:
    """Equal to the same object only. It keeps the object, so that no other one can take its place in memory."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def frozen(value: Any, depth: int = 3) -> Any:
    """A picture of ``value``. Two of them are equal if nothing within ``depth`` containers was changed."""
    if type(value) in _PLAIN:
        return value
    if depth and isinstance(value, Mapping | list | tuple | set | frozenset | deque) and _length(value) <= _MOST:
        if isinstance(value, Mapping):
            return dict, [(frozen(key, 1), frozen(inner, depth - 1)) for key, inner in list(value.items())]
        if isinstance(value, set | frozenset):
            return set, frozenset(map(_Same, value)) if not _is_plain(value) else frozenset(value)
        return list, [frozen(inner, depth - 1) for inner in list(value)]
    return _Same(value)


def frozen_object(value: Any, depth: int = 3) -> Any:
    """A picture of an object's own attributes."""
    try:
        names = vars(value)
    except TypeError:
        return _Same(value)
    return frozen(names, depth)


def is_container(value: Any) -> bool:
    """Whether it is a container whose content is compared."""
    return type(value) in (dict, list, set)


def _is_plain(values: Any) -> bool:
    return all(type(each) in _PLAIN for each in values)


def _length(value: Any) -> int:
    try:
        return len(value)
    except Exception:  # noqa: BLE001 - a pack's own container.
        return _MOST + 1
