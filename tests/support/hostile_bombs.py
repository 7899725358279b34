"""Small jobs of core nodes that would take much memory, or hold Python's lock for long; made from ``INPUT_TYPES``."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import graphs
from core_nodes import PLAIN, CoreNode, NodeInput
from hostile_values import EXPRESSIONS, FORMATS, PATTERNS, STRUCTURES

Bomb = tuple[str, dict[str, Any]]
_SIDE = 2048  # Pixels of a picture's side.
_PIXEL = 12  # Bytes: three numbers of four bytes.
_TIMEOUT_S = 10  # Some compute for minutes without much memory.
_SIDES = ("width", "height", "resolution", "size")
_COUNTS = ("batch", "length", "amount", "frames", "count", "duration", "steps", "repeat", "num_")
_VICTIM = "a" * 40 + "!"


def memory_bombs(nodes: list[CoreNode], mb: int) -> Iterator[Bomb]:
    """For each class with inputs for sizes, and none but pictures and latents besides: a job that asks for ``mb``.

    The sizes come through links, so that validation does not see them.
    """
    for node in nodes:
        inputs = [each for each in node.inputs(Random(0)) if each.required]
        if any(_is_size(each) for each in inputs) and all(_can_be_given(each) for each in inputs):
            graph: graphs.Graph = {
                "image": graphs.node("EmptyImage", width=64, height=64, batch_size=1, color=1),
                "latent": graphs.node("EmptyLatentImage", width=64, height=64, batch_size=1),
            }
            graph["t"] = graphs.node(node.name, **{each.name: _sized(graph, each, inputs, mb) for each in inputs})
            graph["show"] = graphs.node("PreviewAny", source=["t", 0])
            yield node.name, {"id": "bomb", "input": {"workflow": graph, "timeout_s": _TIMEOUT_S}}


def _is_size(each: NodeInput) -> bool:
    return not {"INT", "FLOAT"}.isdisjoint(each.kinds) and any(word in each.name for word in (*_SIDES, *_COUNTS))


def _can_be_given(each: NodeInput) -> bool:
    return each.is_easy or not {"IMAGE", "LATENT"}.isdisjoint(each.kinds)


def _sized(graph: graphs.Graph, each: NodeInput, inputs: list[NodeInput], mb: int) -> Any:
    if "IMAGE" in each.kinds:
        return ["image", 0]
    if "LATENT" in each.kinds:
        return ["latent", 0]
    if _is_size(each):
        has_sides = any(word in other.name for other in inputs for word in _SIDES)
        is_side = any(word in each.name for word in _SIDES)
        count = mb * 1_000_000 // ((_SIDE * _SIDE if has_sides else 64 * 64) * _PIXEL)
        value = _SIDE if is_side else count
        kind = "INT" if "INT" in each.kinds else "FLOAT"
        graph[each.name] = graphs.node(f"Primitive{kind.title()}", value=value if kind == "INT" else float(value))
        return [each.name, 0]
    return each.options.get("default", each.choices[0] if each.choices else each.options.get("min", 1))


def lock_bombs(nodes: list[CoreNode]) -> Iterator[Bomb]:
    """For each class that makes texts or numbers of texts: each text that takes long to interpret, in each input."""
    for node in nodes:
        inputs = [each for each in node.inputs(Random(0)) if each.required]
        texts = [each.name for each in inputs if "STRING" in each.kinds]
        if not texts or not PLAIN.issuperset(node.outputs) or not all(each.is_easy for each in inputs):
            continue
        rest = {each.name: _calm(each) for each in inputs}
        for name in texts:
            for text in (*PATTERNS, *EXPRESSIONS, *FORMATS, *STRUCTURES):
                given = {**rest, **dict.fromkeys(texts, _VICTIM), name: text}
                graph = {"t": graphs.node(node.name, **given), "show": graphs.node("PreviewAny", source=["t", 0])}
                yield f"{node.name} {name} {text:.40}", {"id": "bomb", "input": {"workflow": graph, "timeout_s": 120}}


def _calm(each: NodeInput) -> Any:
    if each.choices:
        return each.choices[0]
    kind = next(kind for kind in ("STRING", "INT", "FLOAT", "BOOLEAN", "*") if kind in each.kinds)
    nothing = {"STRING": _VICTIM, "INT": 1, "FLOAT": 1.0, "BOOLEAN": True, "*": _VICTIM}[kind]
    return each.options.get("default", nothing)
