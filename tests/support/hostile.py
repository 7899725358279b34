"""Jobs that mean harm, or that a broken client sends: strategies for Hypothesis."""

# ruff: noqa: E501 - lists of values.

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import graphs
from hostile_files import MARK, base64_of, hostile_files
from hypothesis import strategies as st

from worker.protocol.installed import combo_choices

Job = Any
CALLERS_KEY = "callers-canary-key-4711"
CALLERS_BUCKET_KEY = "callers-canary-bucket-4712"

_TYPES = frozenset({"IMAGE", "MASK", "LATENT", "AUDIO", "VIDEO", "STRING", "INT", "FLOAT", "BOOLEAN", "COMBO", "*"})
_PAID_OR_SLOW = ("comfy_api_nodes", "comfy_extras.nodes_train", "custom_nodes")
# Each of these takes 20 ms and more; the corpus has them.
_ENCODERS = frozenset({"SaveVideo", "SaveWEBM", "SaveAnimatedWEBP", "LTXVPreprocess", "FluxKontextImageScale"})


@dataclass(frozen=True)
class NodeClass:
    """A node class of the running ComfyUI: its inputs with their types, the options of some, and its outputs' types."""

    name: str
    inputs: dict[str, str]
    options: dict[str, list[Any]]
    outputs: tuple[str, ...]
    is_output: bool


def node_classes(mappings: dict[str, Any]) -> list[NodeClass]:
    """The classes in ``NODE_CLASS_MAPPINGS`` that need no model, no network and little time."""
    found = []
    for name, node_class in sorted(mappings.items()):
        if getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes").startswith(_PAID_OR_SLOW) or name in _ENCODERS:
            continue
        given = node_class.INPUT_TYPES()
        specs = {**given.get("required", {}), **given.get("optional", {})}
        needed = {_type(spec[0]) for spec in given.get("required", {}).values()}
        if needed <= _TYPES:
            outputs = tuple(map(_type, node_class.RETURN_TYPES or ()))
            inputs = {key: _type(spec[0]) for key, spec in specs.items()}
            options = {key: choices for key, spec in specs.items() if (choices := combo_choices(spec))}
            found.append(NodeClass(name, inputs, options, outputs, bool(getattr(node_class, "OUTPUT_NODE", False))))
    return found


def _type(given: Any) -> str:
    return given if isinstance(given, str) else "COMBO"


# fmt: off
# Small enough to be cheap, or so large that no allocation can begin.
_NUMBERS = (0, 1, -1, 2, 3, 8, 0.5, -0.0, 1e-300, 1e308, -1e308, math.nan, math.inf, -math.inf, 2**62, 2**64, -(2**63), 10**400)
_ODD: tuple[Any, ...] = (None, True, False, "", " ", "0", "-1", "1e3", "NaN", "null", [], {}, [[]], [None], ["1"], ["1", 0, 0], ["1", "0"],
        ["1", -1], ["1", 99], ["1", 0.0], ["1", True], [1, 0], [["1", 0], 0], [None, 0], [{}, 0], ["nowhere", 0],
        ["__proto__", 0], {"__proto__": 1}, {"__value__": ["1", 0]}, {"__type__": "x"}, {"__class__": "int"},
        {"constructor": {"prototype": {}}}, {"$ref": "#"}, {"image": "../x.png", "mask": "x", "normal": "", "recording": ""})
_TEXTS = ("%s%n%x{0}{0.__class__}", "${jndi:ldap://127.0.0.1/x}", "{{7*7}}", "$(touch /tmp/hstl)", "'; DROP TABLE x; --",
          "<script>alert(1)</script>", "\x00", "a\x00b.png", "\ud800", "x\udfff.png", "\udcff", "\u202egnp.exe", "\n/etc/passwd", "\r\n\r\n",
          "e" * 300, "ü" * 2000, "A1/" * 3000, "/" * 500, "\\" * 99, "C:\\windows\\x", "\\\\host\\share\\x", "~", "~/x", "~root/x",
          "-rf", "--help", "|id", "file:///etc/passwd", "http://127.0.0.1:1/x", "concat:/etc/passwd|/etc/hosts", "pipe:0", "data:,x",
          "con", "nul", ".", "..", "...", "./.", "a/./b", "%width%%year%", "%date:yyyy%", "%batch_num%", "%../%")
_PATHS = ("../../../../../../../../etc/passwd", "/etc/passwd", "/proc/self/environ", "/proc/self/fd/1", "/dev/zero", "/dev/stdin",
          "../lock", "../user", "../jobs", "....//....//etc/passwd", "..\\..\\etc\\passwd", "%2e%2e%2fetc", "a/../../../etc/passwd",
          "/", "//etc/passwd", "input/../../lock", f"../{MARK}", f"../../{MARK}", f"/tmp/{MARK}", f"/{MARK}/x", f"{MARK}/" * 40, MARK * 80,
          f"~/{MARK}", f"a/../../{MARK}", f"{MARK}\x00/x", f"{MARK}/../{MARK}", "models/../../x.safetensors")
_ANNOTATIONS = ("", "", " [input]", " [output]", " [temp]", " [output] ", "[input]", " [models]")
_KEYS = ("__proto__", "__class__", "constructor", "__init__", "self", "cls", "prompt", "extra_pnginfo", "unique_id", "dynprompt",
         "auth_token_comfy_org", "api_key_comfy_org", "filename_prefix", "", "\x00", "\ud800", "a.b", "x" * 200)
_IDS = ("__proto__", "constructor", "", " ", "-1", "0", "1.0", "\x00", "\ud800", "../1", "/etc", "1:2", "1.0.0", "null", "é", "9" * 300, "a\nb")
_CLASSES = (
    "",
    "Nope",
    "__proto__",
    "SaveImage ",
    "saveimage",
    "../SaveImage",
    "\x00",
    "\ud800",
    "N" * 5000,
    "os.system",
)
# fmt: on


class Jobs:
    """Strategies for jobs.

    Args:
        classes: the node classes to use.
        secret_paths: files that no job may read, as a job would name them.
    """

    def __init__(self, classes: Iterable[NodeClass], secret_paths: Iterable[str]) -> None:
        self._classes = list(classes)
        files = hostile_files()
        self._contents = [
            *(base64_of(data) for data in files.values()),
            *(f"data:image/png;base64,{base64_of(files['good.png'])}", "data:,", "data:image/png;base64,", "%", "=" * 9),
            *("http://127.0.0.1:1/x.png", "http://169.254.169.254/latest/meta-data/", "HTTPS://[::1]/x", "http://", "file:///etc/passwd"),
            *("QUJD" * 5000, "\x00", "\ud800", "ä" * 99),
        ]  # fmt: skip
        self._names = [*files, *secret_paths, *_PATHS, *_TEXTS]
        names = st.builds(str.__add__, st.sampled_from(self._names), st.sampled_from(_ANNOTATIONS))
        scalars = st.one_of(st.sampled_from(_NUMBERS), st.sampled_from(_TEXTS), names)
        nested = st.builds(_nested, st.sampled_from(_ODD), st.sampled_from([1, 2, 3, 10, 90, 120]))
        self._hostile = st.one_of(scalars, names, st.sampled_from(_ODD), nested)
        self._json = st.recursive(
            st.one_of(st.none(), st.booleans(), st.sampled_from(_NUMBERS), st.sampled_from(_TEXTS), st.text(max_size=5)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(st.sampled_from([*_KEYS, "workflow", "input", "class_type", "inputs", "nodes", "links"]), inner, max_size=4),
            ),
            max_leaves=8,
        )  # fmt: skip

    def arbitrary(self) -> st.SearchStrategy[Job]:
        """Anything that JSON can hold; mostly with the fields that a job has."""
        value, optional = self._json, ("images", "comfy_org_api_key", "output_format", "output_quality")
        node = st.fixed_dictionaries(
            {}, optional={"class_type": st.one_of(st.just("SaveImage"), value), "inputs": value}
        )
        workflow = st.one_of(
            value, st.dictionaries(st.sampled_from(["1", "2", *_IDS]), st.one_of(node, value), max_size=3)
        )
        given = st.fixed_dictionaries({"workflow": workflow}, optional=dict.fromkeys(optional, value))
        as_text = st.one_of(
            given.map(json.dumps),
            st.sampled_from(["{", "null", "[" * 100_000, '{"workflow":' * 500, "\ud800", "1" * 5000]),
        )
        job = st.fixed_dictionaries(
            {"input": st.one_of(given, value, as_text)}, optional={"id": value, "s3Config": value}
        )
        return st.one_of(job, job, value)

    def valid(self) -> st.SearchStrategy[Job]:
        """Jobs that ``parse_job`` takes, but for some."""

        @st.composite
        def job(draw: st.DrawFn) -> Job:
            given: dict[str, Any] = {"workflow": self._graph(draw)}
            if draw(st.integers(0, 2)) == 0:
                count = draw(st.integers(1, 2))
                given["images"] = [self._image(draw, number) for number in range(count)]
            if draw(st.booleans()):
                given["comfy_org_api_key"] = CALLERS_KEY
            if draw(st.integers(0, 7)) == 0:
                given["output_format"] = draw(st.sampled_from(["webp", "jpeg"]))
            made: dict[str, Any] = {
                "id": draw(st.sampled_from(["job-1", "", "../x", "\ud800", "a\nb", "x" * 999])),
                "input": given,
            }
            if draw(st.integers(0, 19)) == 0:
                made["s3Config"] = self._s3_config(draw)
            return made

        return job()

    def _s3_config(self, draw: st.DrawFn) -> dict[str, Any]:
        hosts = [
            "http://127.0.0.1:1",
            "https://192.0.2.1",
            "file:///etc/passwd",
            "http://[::1",
            "",
            5,
            "http://u:p@10.0.0.1",
        ]
        keys = {"accessId": f"{CALLERS_BUCKET_KEY}-id", "accessSecret": CALLERS_BUCKET_KEY}
        return {
            **keys,
            "bucketName": draw(st.sampled_from(["b", "../b", "", None])),
            "endpointUrl": draw(st.sampled_from(hosts)),
        }

    def _image(self, draw: st.DrawFn, number: int) -> dict[str, Any]:
        is_plain = draw(st.integers(0, 3))
        name = ["in.png", "sub/in.png"][number] if is_plain else draw(st.sampled_from(self._names))
        content = self._contents[0] if draw(st.integers(0, 2)) == 0 else draw(st.sampled_from(self._contents))
        return {"name": name, "image": content}

    def _graph(self, draw: st.DrawFn) -> dict[str, Any]:
        graph: dict[str, Any] = {}
        for number in range(draw(st.integers(1, 3))):
            node_id = draw(st.sampled_from(_IDS)) if draw(st.integers(0, 9)) == 0 else str(number + 1)
            self._add(draw, graph, node_id)
        if draw(st.integers(0, 9)) == 0:
            self._spoil(draw, graph)
        return graph

    def _add(self, draw: st.DrawFn, graph: dict[str, Any], node_id: str) -> None:
        node_class = draw(st.sampled_from(self._classes))
        hostility = draw(st.sampled_from([3, 9, 30]))
        inputs: dict[str, Any] = {}
        for name in node_class.inputs:
            is_hostile = draw(st.integers(0, hostility)) == 0
            inputs[name] = draw(self._hostile) if is_hostile else self._fitting(draw, graph, node_class, name)
        if draw(st.integers(0, 5)) == 0:
            inputs[draw(st.sampled_from(_KEYS))] = draw(self._hostile)
        graph[node_id] = {"class_type": node_class.name, "inputs": inputs}
        if draw(st.integers(0, 9)) == 0:
            graph[node_id][draw(st.sampled_from(["_meta", "is_changed", "__proto__"]))] = draw(self._hostile)
        if not node_class.is_output and node_class.outputs:
            shown = {
                "IMAGE": ("SaveImage", "images"),
                "MASK": ("MaskPreview", "mask"),
                "LATENT": ("SaveLatent", "samples"),
            }
            class_type, source = shown.get(node_class.outputs[0], ("PreviewAny", "source"))
            graph[f"show {node_id}"] = graphs.node(class_type, **{source: [node_id, 0]})
            if class_type.startswith("Save"):
                prefix = draw(st.sampled_from([*_PATHS, *_TEXTS])) if draw(st.booleans()) else MARK
                graph[f"show {node_id}"]["inputs"]["filename_prefix"] = prefix

    def _fitting(self, draw: st.DrawFn, graph: dict[str, Any], node_class: NodeClass, name: str) -> Any:
        """A value that validation takes, or a link to a node that gives one."""
        kind = node_class.inputs[name]
        if kind in _SOURCES:
            for source in (kind, "IMAGE") if kind == "VIDEO" else (kind,):
                graph.setdefault(f"a {source}", copy.deepcopy(_SOURCES[source]))
            return [f"a {kind}", 0]
        if kind == "INT":
            return draw(st.integers(0, 8)) if "color" not in name else 255
        if kind == "FLOAT":
            return draw(st.sampled_from([0.0, 0.5, 1.0]))
        if kind == "BOOLEAN":
            return draw(st.booleans())
        if name in node_class.options:
            return draw(st.sampled_from(node_class.options[name]))
        return "in.png" if draw(st.booleans()) else draw(st.sampled_from(self._names))

    def _spoil(self, draw: st.DrawFn, graph: dict[str, Any]) -> None:
        """One thing that is wrong with the graph as a whole."""
        node_ids = list(graph)
        victim = graph[draw(st.sampled_from(node_ids))]
        way = draw(st.integers(0, 3))
        if way == 0:
            victim["class_type"] = draw(st.sampled_from(_CLASSES))
        elif way == 1:  # A cycle, or a link to a type that does not fit.
            key = draw(st.sampled_from([*victim["inputs"], "x"]))
            graph[node_ids[-1]]["inputs"][key] = [node_ids[-1], 0]
        elif way == 2:
            victim["class_type"] = draw(self._hostile)
        else:
            victim["inputs"] = draw(self._hostile)


_SOURCES: dict[str, dict[str, Any]] = {
    "IMAGE": graphs.node("EmptyImage", width=8, height=8, batch_size=2, color=255),
    "MASK": graphs.node("SolidMask", value=0.5, width=8, height=8),
    "LATENT": graphs.node("EmptyLatentImage", width=16, height=16, batch_size=1),
    "AUDIO": graphs.node("EmptyAudio", duration=0.01, sample_rate=8000, channels=1),
    "VIDEO": graphs.node("CreateVideo", images=["a IMAGE", 0], fps=8.0),
    "*": graphs.node("PrimitiveString", value="x"),
}


def _nested(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value
