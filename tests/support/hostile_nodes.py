"""Jobs that bring hostile values to every input of every core node: literally, through links, and as objects."""

from __future__ import annotations

import base64
import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import graphs
import hostile_values
import media
from core_nodes import PLAIN, CoreNode, NodeInput, core_nodes, find_makers
from hostile_files import MARK
from pictures import png

Graph = dict[str, Any]
_CHECKPOINT = "tiny-sd.safetensors"
# Types that a job needs often, made with as little work as can be.
_MADE: dict[str, tuple[dict[str, Any], int]] = {
    "IMAGE": (graphs.node("EmptyImage", width=16, height=16, batch_size=2, color=255), 0),
    "MASK": (graphs.node("SolidMask", value=0.5, width=16, height=16), 0),
    "LATENT": (graphs.node("EmptyLatentImage", width=16, height=16, batch_size=1), 0),
    "AUDIO": (graphs.node("EmptyAudio", duration=0.01, sample_rate=8000, channels=1), 0),
    "VIDEO": (graphs.node("CreateVideo", images=["a IMAGE", 0], fps=8.0), 0),
    "MODEL": (graphs.node("CheckpointLoaderSimple", ckpt_name=_CHECKPOINT), 0),
    "CLIP": (graphs.node("CheckpointLoaderSimple", ckpt_name=_CHECKPOINT), 1),
    "VAE": (graphs.node("CheckpointLoaderSimple", ckpt_name=_CHECKPOINT), 2),
    "CONDITIONING": (graphs.node("CLIPTextEncode", text="a", clip=["a CLIP", 1]), 0),
}
_NEEDS = {"VIDEO": ("IMAGE",), "CONDITIONING": ("CLIP",)}
_WRITERS = {"STRING": "PrimitiveStringMultiline", "INT": "PrimitiveInt", "FLOAT": "PrimitiveFloat"}
_SHOWN = {
    "IMAGE": ("SaveImage", "images", True),
    "MASK": ("MaskPreview", "mask", False),
    "LATENT": ("SaveLatent", "samples", True),
    "AUDIO": ("SaveAudio", "audio", True),
}
_LITTLE = ("steps", "batch", "length", "frames", "amount", "repeat", "iterations", "count", "num_", "rounds")
FILES = ("in.png", "set/in.png", "in.mp4", "in.wav", "in.latent", "3d/in.obj")
_FOLDERS = ("set", "3d")


@dataclass(frozen=True)
class NodeJob:
    """A job, and what it is about: the class under test, and how each hostile value gets there."""

    seed: int
    number: int
    class_type: str
    attacks: tuple[str, ...]
    graph: Graph
    images: tuple[Mapping[str, str], ...] = ()

    def __str__(self) -> str:
        return f"job {self.number}: {self.class_type} {', '.join(self.attacks)}"

    @property
    def is_cheap(self) -> bool:
        """Whether it loads no model."""
        return all(node["class_type"] != "CheckpointLoaderSimple" for node in self.graph.values())

    def request(self) -> dict[str, Any]:
        """As a caller sends it."""
        given = {"workflow": copy.deepcopy(self.graph), "images": list(self.images), "timeout_s": 10}
        return {"id": f"job-{self.number}", "input": given}


class NodeJobs:
    """Makes jobs by number. The classes take turns, and all else is drawn with ``seed`` and the number.

    Args:
        mappings: ``NODE_CLASS_MAPPINGS`` of the running ComfyUI.
        names: files that no job may read, as a job would name them.
        seed: another one gives other jobs.
    """

    def __init__(self, mappings: Mapping[str, Any], names: list[str], seed: int) -> None:
        self.nodes = core_nodes(mappings)
        self._names, self._seed = names, seed
        self._makers = find_makers(self.nodes, set(_MADE))
        self._order = list(range(len(self.nodes)))
        Random(seed).shuffle(self._order)
        self._has_switch = "ComfySwitchNode" in mappings

    def make(self, number: int) -> NodeJob:
        """The job of this number."""
        rng = Random(f"{self._seed}:{number}")
        node = self.nodes[self._order[number % len(self._order)]]
        graph: Graph = {}
        inputs = [each for each in node.inputs(rng) if each.required or rng.random() < 0.7]
        victims = set(rng.sample([each.name for each in inputs], min(len(inputs), rng.choice([1, 1, 1, 2, 3, 99]))))
        given: dict[str, Any] = {}
        attacks = []
        for each in inputs:
            if each.name in victims:
                given[each.name], how = self._attack(rng, graph, each)
                attacks.append(f"{each.name}: {how}")
            else:
                given[each.name] = self._fitting(rng, graph, each)
        graph["t"] = graphs.node(node.name, **given)
        self._show(rng, graph, node)
        images = staged_files(99) if rng.random() < 0.3 or _names_files(graph) else ()
        return NodeJob(self._seed, number, node.name, tuple(attacks), graph, images)

    def _attack(self, rng: Random, graph: Graph, each: NodeInput) -> tuple[Any, str]:
        """A hostile value for an input, and by which route it comes."""
        value = hostile_values.value(rng, self._names)
        routes = ["literal", "link", "computed", "any", "any", "object"]
        if "COMBO" in each.kinds or PLAIN.isdisjoint(each.kinds):
            routes[0] = "any"  # Validation refuses nearly all of these.
        route = rng.choice(routes if rng.random() < 0.9 else ["literal"])
        if route == "object":
            kind = rng.choice([*_MADE, *self._makers])
            return self._any(rng, graph, self._linked(rng, graph, kind)), f"an object of {kind}"
        if route == "link":
            writer = _writer(each, value)
            if writer is not None:
                return self._add(graph, graphs.node(writer, value=value)), f"{writer} {value!r:.60}"
        if route == "computed" and isinstance(value, str):
            return self._computed(rng, graph, value, each), f"computed {value!r:.60}"
        if route in ("any", "computed") and isinstance(value, str | int | float):
            return self._any(rng, graph, self._written(graph, value)), f"any {value!r:.60}"
        if rng.random() < 0.8:
            value = _in_range(rng, each, value)
        return value, f"{value!r:.60}"

    def _computed(self, rng: Random, graph: Graph, value: str, each: NodeInput) -> Any:
        half = rng.randrange(len(value) + 1)
        node = graphs.node("StringConcatenate", string_a=value[:half], string_b=value[half:], delimiter="")
        link = self._add(graph, node)
        return link if "STRING" in each.kinds else self._any(rng, graph, link)

    def _written(self, graph: Graph, value: Any) -> Any:
        """A link to a node that gives ``value``."""
        if isinstance(value, str):
            return self._add(graph, graphs.node("PrimitiveStringMultiline", value=value))
        if isinstance(value, bool):
            return self._add(graph, graphs.node("PrimitiveBoolean", value=value))
        return self._add(
            graph, graphs.node("PrimitiveInt" if isinstance(value, int) else "PrimitiveFloat", value=value)
        )

    def _any(self, rng: Random, graph: Graph, link: Any) -> Any:
        """``link``'s value through an output that fits everywhere."""
        if self._has_switch and rng.random() < 0.5:
            node = graphs.node("ComfySwitchNode", switch=True, on_true=link, on_false=link)
            return self._add(graph, node)
        return self._add(graph, graphs.node("TestPasses", value=link))

    def _add(self, graph: Graph, node: dict[str, Any]) -> list[Any]:
        node_id = str(len(graph) + 1)
        graph[node_id] = node
        return [node_id, 0]

    def _linked(self, rng: Random, graph: Graph, kind: str) -> list[Any]:
        """A link to a node that makes an object of this type."""
        if kind in _MADE:
            node, index = _MADE[kind]
            for needed in _NEEDS.get(kind, ()):
                self._linked(rng, graph, needed)
            graph.setdefault(f"a {kind}", copy.deepcopy(node))
            return [f"a {kind}", index]
        maker, index = self._makers[kind]
        node_id = f"m {maker.name}"
        if node_id not in graph:
            graph[node_id] = {}
            wanted = [each for each in maker.inputs(Random(0)) if each.required]
            given = {each.name: self._fitting(rng, graph, each) for each in wanted}
            graph[node_id] = graphs.node(maker.name, **given)
        return [node_id, index]

    def _fitting(self, rng: Random, graph: Graph, each: NodeInput) -> Any:
        """A value that validation takes, as cheap as can be; otherwise an object of a wrong type."""
        kind = rng.choice(each.kinds)
        if kind in _MADE or (kind in self._makers and kind not in PLAIN):
            return self._linked(rng, graph, kind)
        if kind == "*":
            return self._linked(rng, graph, rng.choice([*_MADE]))
        if kind == "COMBO" and not each.choices:
            name = rng.choice((*FILES, *_FOLDERS))
            return name if rng.random() < 0.5 else self._any(rng, graph, self._written(graph, name))
        if kind in PLAIN:
            return _plain(rng, each, kind)
        return self._any(rng, graph, self._linked(rng, graph, rng.choice([*_MADE, *self._makers])))

    def _show(self, rng: Random, graph: Graph, node: CoreNode) -> None:
        for index, kind in enumerate(node.outputs[:4]):
            class_type, source, has_prefix = _SHOWN.get(kind, ("PreviewAny", "source", False))
            if rng.random() < 0.3:
                class_type, source, has_prefix = "PreviewAny", "source", False
            graph[f"show {index}"] = graphs.node(class_type, **{source: ["t", index]})
            if has_prefix:
                graph[f"show {index}"]["inputs"]["filename_prefix"] = MARK
        if not node.outputs and not node.is_output:
            graph["show"] = graphs.node("PreviewAny", source=["t", 0])


def _names_files(graph: Graph) -> bool:
    return any(value in FILES for node in graph.values() for value in node["inputs"].values() if isinstance(value, str))


def _in_range(rng: Random, each: NodeInput, value: Any) -> Any:
    """A value that validation takes, at the end of what is allowed."""
    if "BOOLEAN" in each.kinds or (not PLAIN.isdisjoint(each.kinds) and {"INT", "FLOAT"}.isdisjoint(each.kinds)):
        return value if isinstance(value, str) else str(value)
    if "INT" in each.kinds or "FLOAT" in each.kinds:
        low, high = each.options.get("min", -8), each.options.get("max", 64)
        return rng.choice([low, high if high <= 64 or high > 2**31 else low + 64])
    return value


def _writer(each: NodeInput, value: Any) -> str | None:
    """The primitive node whose output the input takes, and which takes ``value``."""
    fits = {"STRING": str, "INT": int, "FLOAT": float}
    for kind, python_type in fits.items():
        if kind in each.kinds and isinstance(value, python_type) and not isinstance(value, bool):
            return _WRITERS[kind]
    return None


def _plain(rng: Random, each: NodeInput, kind: str) -> Any:
    options = each.options
    if kind == "BOOLEAN":
        return rng.choice([True, False])
    if kind == "STRING":
        return rng.choice([str(options.get("default") or "x"), "a", *FILES, *_FOLDERS])
    if kind == "COMBO":
        files = [choice for choice in each.choices if choice == _CHECKPOINT]
        return files[0] if files else rng.choice(each.choices)
    low, high = options.get("min", 0), options.get("max", 64)
    if kind == "FLOAT":
        default = options.get("default", 0.0)
        return rng.choice([float(default), max(float(low), 0.0) if low > -1e6 else 0.0, min(float(high), 1.0)])
    if any(word in each.name for word in _LITTLE):
        return max(low, 1)
    small = max(low, rng.choice([0, 1, 16, 16, 64]))
    step = options.get("step") or 1
    return min(high, small + (-small % step if step > 1 else 0))


@functools.cache
def staged_files(shade: int) -> tuple[Mapping[str, str], ...]:
    """``FILES`` as a request brings them, of one shade."""
    picture = png(canary_color(shade))
    contents = (
        picture,
        picture,
        media.video(shade),
        media.sound(shade * 100),
        media.latent(float(shade)),
        media.model(shade),
    )
    pairs = zip(FILES, contents, strict=True)
    return tuple({"name": name, "image": base64.b64encode(data).decode()} for name, data in pairs)


def canary_color(shade: int) -> tuple[int, int, int]:
    """What the pictures of this shade show."""
    return (shade, 43, 217)
