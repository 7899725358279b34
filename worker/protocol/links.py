"""Links between the nodes of a graph in ComfyUI's API format."""

from __future__ import annotations

from typing import Any


def is_link(value: Any) -> bool:
    """Whether the value of an input is a link, ``[node id, index of its output]``."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int
