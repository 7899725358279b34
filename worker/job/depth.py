"""How deep JSON of a caller may be nested."""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 100


def is_deeper(value: object, depth: int = MAX_DEPTH) -> bool:
    """Whether lists and objects are nested more than ``depth`` levels deep."""
    level: list[Any] = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
