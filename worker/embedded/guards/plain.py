"""Plain values: what a caller's expression or format may be given."""

from __future__ import annotations

from typing import Any


def is_numpy_scalar(value: Any) -> bool:
    """Whether ``value`` is a single number of numpy's, which nodes hand on as a number."""
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
