"""Makes a workflow for each node class of a pack: defaults, a small picture, and outputs that are saved or shown."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from core_nodes import PLAIN, CoreNode, NodeInput, described_nodes, find_makers
from PIL import Image

from compare.differences import pack_of
from compare.options import Case
from worker.job.from_python import make_job

Graph = dict[str, Any]
_PICTURE, _CHECKPOINT = "compare-packs.png", "tiny-sd.safetensors"
_SIZE = 64  # Pixels a side.
_LOADED = ("LoadImage", {"image": _PICTURE})
# By type: a class, its inputs, and which of its outputs it is. Inputs that are types get an object of that type.
_MADE: dict[str, tuple[str, dict[str, Any], int]] = {
    "IMAGE": (*_LOADED, 0),
    "MASK": (*_LOADED, 1),
    "LATENT": ("EmptyLatentImage", {"width": _SIZE, "height": _SIZE, "batch_size": 1}, 0),
    "AUDIO": ("EmptyAudio", {"duration": 0.1, "sample_rate": 8000, "channels": 1}, 0),
    "VIDEO": ("CreateVideo", {"images": "IMAGE", "fps": 8.0}, 0),
}
_LOADER = ("CheckpointLoaderSimple", {"ckpt_name": _CHECKPOINT})
_MADE_OF_CHECKPOINT: dict[str, tuple[str, dict[str, Any], int]] = {
    "MODEL": (*_LOADER, 0),
    "CLIP": (*_LOADER, 1),
    "VAE": (*_LOADER, 2),
    "CONDITIONING": ("CLIPTextEncode", {"text": "a lake", "clip": "CLIP"}, 0),
}
_SHOWN = {"IMAGE": ("SaveImage", "images"), "LATENT": ("SaveLatent", "samples"), "AUDIO": ("SaveAudio", "audio")}
_MOST_OUTPUTS = 6
# A default of 20 steps or 1024 pixels says no more than these, and takes long without a GPU.
_SMALLER = {
    re.compile("steps|batch|frames|count|amount|repeat|iterations"): 2,
    re.compile("width|height|size|resolution"): 2 * _SIZE,
}


class Untried(Exception):
    """A class that cannot be tried. The text says why."""


def each_node(classes: Mapping[str, Any], packs: set[str]) -> tuple[list[Case], dict[str, str]]:
    """A workflow for each class of ``packs``; and the classes for which there is none, with the reason.

    Args:
        classes: what ``/object_info`` says.
        packs: names of the packs' modules.
    """
    graphs = _Graphs(described_nodes(classes), _MADE | (_MADE_OF_CHECKPOINT if _has_checkpoint(classes) else {}))
    cases: dict[str, Case] = {}
    untried = {}
    for name in sorted(name for name, about in classes.items() if pack_of(about) in packs):
        try:
            graph = graphs.of(name)
        except Untried as reason:
            untried[name] = str(reason)
            continue
        shown = re.sub(r"[^\w .+-]", "_", name).strip(" .") or "_"  # It becomes the name of a folder.
        shown = shown if shown not in cases else f"{shown} ({len(cases)})"
        pictures = {_PICTURE: _picture()} if _PICTURE in str(graph) else {}
        cases[shown] = Case(shown, make_job({"workflow": graph}, pictures))
    return list(cases.values()), untried


class _Graphs:
    """Makes graphs. ``made``: how to get objects of the usual types."""

    def __init__(self, nodes: Sequence[CoreNode], made: Mapping[str, tuple[str, dict[str, Any], int]]) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._made = made
        self._makers = find_makers(list(nodes), set(made))

    def of(self, name: str) -> Graph:
        """The graph for a class. Raises Untried."""
        node, graph = self._nodes[name], Graph()
        graph[name] = {"class_type": name, "inputs": self._inputs(node, graph)}
        shown = list(enumerate(node.outputs))[:_MOST_OUTPUTS]
        # The text of an object is its address, which says nothing. It only makes the node run.
        telling = [(index, kind) for index, kind in shown if kind in PLAIN or kind in _SHOWN or kind == "MASK"]
        for index, kind in telling or ([] if node.is_output else shown[:1]):
            _show(graph, name, index, kind)
        if not node.is_output and not shown:
            raise Untried("it has no output")
        return _numbered(graph)

    def _inputs(self, node: CoreNode, graph: Graph) -> dict[str, Any]:
        """All inputs that a person would find filled in, and links for what is required."""
        given = {}
        for each in node.inputs(Random(0)):  # noqa: S311 - always the same.
            if not PLAIN.isdisjoint(each.kinds):
                if each.required or ("forceInput" not in each.options and (each.choices or "default" in each.options)):
                    given[each.name] = _plain(each)
            elif each.required:
                given[each.name] = self._linked(each, graph)
        return given

    def _linked(self, each: NodeInput, graph: Graph) -> Any:
        for kind in ("IMAGE",) if each.kinds == ("*",) else each.kinds:
            if kind in self._made:
                return self._object(kind, graph)
            if kind in self._makers:
                maker, index = self._makers[kind]
                node_id = f"{kind} {maker.name}"
                if node_id not in graph:
                    graph[node_id] = {}  # Its place, so that what it needs comes after it.
                    graph[node_id] = {"class_type": maker.name, "inputs": self._inputs(maker, graph)}
                return [node_id, index]
        if "default" in each.options:
            return each.options["default"]
        raise Untried(f"{each.name} needs {' or '.join(each.kinds)}, which no class here makes without a model")

    def _object(self, kind: str, graph: Graph) -> list[Any]:
        class_type, inputs, index = self._made[kind]
        given = {name: self._object(value, graph) if value in self._made else value for name, value in inputs.items()}
        graph[f"a {class_type}"] = {"class_type": class_type, "inputs": given}
        return [f"a {class_type}", index]


def _numbered(graph: Graph) -> Graph:
    """``graph`` with numbers as ids, as the editor gives them: some nodes take theirs for one."""
    ids = {node_id: str(number) for number, node_id in enumerate(graph, 1)}

    def linked(value: Any) -> Any:
        is_link = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in ids
        return [ids[value[0]], value[1]] if is_link else value

    return {
        ids[node_id]: {**node, "inputs": {name: linked(value) for name, value in node["inputs"].items()}}
        for node_id, node in graph.items()
    }


def _show(graph: Graph, node_id: str, index: int, kind: str) -> None:
    link = [node_id, index]
    if kind == "MASK":
        graph[f"picture {index}"] = {"class_type": "MaskToImage", "inputs": {"mask": link}}
        link, kind = [f"picture {index}", 0], "IMAGE"
    class_type, source = _SHOWN.get(kind, ("PreviewAny", "source"))
    inputs = {source: link} | ({"filename_prefix": f"output {index}"} if kind in _SHOWN else {})
    graph[f"show {index}"] = {"class_type": class_type, "inputs": inputs}


def _plain(each: NodeInput) -> Any:
    """The default, or a value that validation takes. Raises Untried."""
    default = each.options.get("default")
    if each.options.get("image_upload"):
        return _PICTURE
    if "COMBO" in each.kinds:
        if not each.choices:
            raise Untried(f"{each.name} has no choice here, such as a model file")
        wanted = _CHECKPOINT if _CHECKPOINT in each.choices else default
        return wanted if wanted in each.choices else each.choices[0]
    if "STRING" in each.kinds:
        return "1" if default is None else str(default)  # It is a number and JSON as well.
    if "BOOLEAN" in each.kinds:
        return bool(default)
    low = each.options.get("min", 0)
    value = max(low, 1) if default is None else default
    for pattern, most in _SMALLER.items():
        if isinstance(value, int | float) and value > most and pattern.search(each.name):
            return max(low, most)
    return value


def _has_checkpoint(classes: Mapping[str, Any]) -> bool:
    return _CHECKPOINT in str(classes.get("CheckpointLoaderSimple", {}).get("input"))


def _picture() -> bytes:
    """A PNG in which each pixel has another colour, with a mask in its transparency."""
    ramp, disc = (image.resize((_SIZE, _SIZE)) for image in (Image.linear_gradient("L"), Image.radial_gradient("L")))
    buffer = io.BytesIO()
    Image.merge("RGBA", (ramp, ramp.rotate(90), disc, disc)).save(buffer, "PNG")
    return buffer.getvalue()
