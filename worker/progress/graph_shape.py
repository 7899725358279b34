"""Tells whether two graphs do the same work: their shape, without what changes from one picture to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

# Parts of the names of inputs whose number says how much there is to do. A seed, a strength or a guidance does not.
_AMOUNTS = (
    "step", "width", "height", "size", "batch", "length", "frame", "count", "num", "amount", "repeat", "iteration",
    "scale", "megapixel", "resolution", "duration", "seconds", "denoise", "tile", "overlap", "passes", "loop",
)  # fmt: skip
# Parts of the names of inputs whose text chooses what does the work: a model's file, a sampler, a precision.
_CHOICES = ("_name", "model", "sampler", "scheduler", "method", "mode", "dtype", "precision", "device")
_MOST_CHOICE = 300  # Characters. A longer text is no choice.


def graph_shape(workflow: Mapping[str, Any]) -> bytes:
    """A digest of the node ids, their classes, the links, and the values that decide how long a node takes.

    Texts, seeds, input files and names of saved files are left out. Of ``cfg`` counts whether it is 1, since a sampler
    then computes half. Two graphs of the same digest take about the same time on the same machine.
    """
    digest = hashlib.blake2b(digest_size=16)
    for node_id in sorted(workflow):
        node = workflow[node_id]
        parts = (node_id, node.get("class_type"), *_inputs(node.get("inputs") or {}))
        digest.update(repr(parts).encode("utf-8", "backslashreplace"))
    return digest.digest()


def _inputs(inputs: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name in sorted(inputs):
        value, lower = inputs[name], name.lower()
        if isinstance(value, list):
            if len(value) == 2 and isinstance(value[0], str):
                yield name, (value[0], str(value[1])[:20])
        elif isinstance(value, bool):
            yield name, value
        elif isinstance(value, int | float):
            if lower == "cfg":
                yield name, value == 1
            elif "seed" not in lower and any(part in lower for part in _AMOUNTS):
                yield name, value
        elif isinstance(value, str) and len(value) <= _MOST_CHOICE and any(part in lower for part in _CHOICES):
            yield name, value
