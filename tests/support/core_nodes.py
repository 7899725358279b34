"""The node classes of the running ComfyUI's own, and which of them make an object of a type."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from worker.protocol.installed import combo_choices

# Partner nodes talk to a server elsewhere.
_LEFT_OUT = ("comfy_api_nodes", "custom_nodes")
PLAIN = frozenset({"STRING", "INT", "FLOAT", "BOOLEAN", "COMBO"})
_CHEAPEST_FIRST = ("Empty", "Primitive", "Basic", "CLIPTextEncode", "Create", "Random", "KSamplerSelect", "Solid")


@dataclass(frozen=True)
class NodeInput:
    """One input. ``kinds``: the types that it takes. ``options``: the rest of what ``INPUT_TYPES`` says."""

    name: str
    kinds: tuple[str, ...]
    required: bool
    options: Mapping[str, Any]
    choices: tuple[Any, ...] = ()

    @property
    def is_easy(self) -> bool:
        """Whether a value can be written down: a number, a text, a choice that there is, or a default."""
        if "COMBO" in self.kinds:
            return bool(self.choices)
        return not PLAIN.isdisjoint(self.kinds) or "default" in self.options or self.kinds == ("*",)


@dataclass(frozen=True)
class CoreNode:
    """A node class. ``specs``: what ``INPUT_TYPES`` says about required and optional inputs."""

    name: str
    outputs: tuple[str, ...]
    is_output: bool
    specs: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def inputs(self, rng: Random) -> list[NodeInput]:
        """Its inputs. Where they depend on a choice, or grow, ``rng`` decides."""
        return list(_inputs(self.specs, rng, ""))


def core_nodes(mappings: Mapping[str, Any]) -> list[CoreNode]:
    """The classes of ``NODE_CLASS_MAPPINGS`` that come with ComfyUI, without partner nodes, by name."""
    found = []
    for name, node_class in sorted(mappings.items()):
        if not getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes").startswith(_LEFT_OUT):
            outputs = tuple(map(_kind, node_class.RETURN_TYPES or ()))
            is_output = bool(getattr(node_class, "OUTPUT_NODE", False))
            found.append(CoreNode(name, outputs, is_output, node_class.INPUT_TYPES()))
    return found


def described_nodes(classes: Mapping[str, Any]) -> list[CoreNode]:
    """The classes that ``/object_info`` describes, those of packs among them, without partner nodes, by name."""
    return [
        CoreNode(name, tuple(map(_kind, about["output"])), bool(about["output_node"]), about["input"])
        for name, about in sorted(classes.items())
        if not str(about.get("python_module")).startswith("comfy_api_nodes")
    ]


def _kind(given: Any) -> str:
    return str(getattr(given, "value", given)) if isinstance(given, str) else "COMBO"


def _inputs(specs: Mapping[str, Any], rng: Random, prefix: str) -> Iterator[NodeInput]:
    for group in ("required", "optional"):
        for name, spec in (specs.get(group) or {}).items():
            options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
            yield from _expanded(f"{prefix}{name}", spec, options, group == "required", rng)


def _expanded(name: str, spec: Any, options: Mapping[str, Any], required: bool, rng: Random) -> Iterator[NodeInput]:
    match _kind(spec[0]):
        case "COMFY_AUTOGROW_V3":
            template = options["template"]
            names = template.get("names") or [f"{template['prefix']}{index}" for index in range(template["max"])]
            inner = next(iter(next(group for group in template["input"].values() if group).values()))
            for each in names[: max(template["min"], rng.choice([1, 2, 3]))]:
                yield from _expanded(f"{name}.{each}", inner, inner[1] if len(inner) > 1 else {}, required, rng)
        case "COMFY_DYNAMICCOMBO_V3":
            option = rng.choice(options["options"])
            yield NodeInput(name, ("COMBO",), required, {}, (option["key"],))
            yield from _inputs(option["inputs"], rng, f"{name}.")
        case "COMFY_MATCHTYPE_V3":
            yield NodeInput(name, tuple(options["template"]["allowed_types"].split(",")), required, {})
        case kind:
            yield NodeInput(name, tuple(kind.split(",")), required, options, tuple(combo_choices(spec) or ()))


def find_makers(nodes: list[CoreNode], known: set[str]) -> dict[str, tuple[CoreNode, int]]:
    """For each type that can be had, in an order in which each maker needs only earlier types: who makes it, and where.

    Args:
        nodes: the classes to choose from.
        known: types that can be had already.
    """
    makers: dict[str, tuple[CoreNode, int]] = {}
    ranked = sorted(nodes, key=lambda node: (not node.name.startswith(_CHEAPEST_FIRST), node.is_output, node.name))
    for _round in itertools.count():
        found: dict[str, tuple[CoreNode, int]] = {}
        had = known | makers.keys()
        for node in ranked:
            needed = [each for each in node.inputs(Random(0)) if each.required]
            if all(each.is_easy or not had.isdisjoint(each.kinds) for each in needed):
                for index, kind in enumerate(node.outputs):
                    if kind not in had and kind not in found and kind != "COMFY_MATCHTYPE_V3":
                        found[kind] = (node, index)
        if not found:
            return makers
        makers |= found
    raise AssertionError
