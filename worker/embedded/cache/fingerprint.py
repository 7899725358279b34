"""Adds a job's files, key and graph to the fingerprint by which ComfyUI's cache recognizes a node.

For an input file, ComfyUI's fingerprint holds what the node returns: LoadImage its content, LoadVideo its time, Load3D
and others only its name. It does not hold what a node gets besides its inputs: the API key and the whole graph. Without
these, the cache would give results of one caller's files or secrets to the next caller.

A name may also be computed by other nodes, and the fingerprint is taken before they run. So a node that can open files,
and has such an input, is known by all input files of its job.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from worker.embedded.node_classes import NodeClasses
from worker.images.formats import PNG, ImageFormat

_SEPARATORS = re.compile(r"/(?:\./|/)*")


@dataclass(frozen=True)
class JobContent:
    """What the results of a job's nodes may depend on.

    Attributes:
        files: content hash of each input file, by the file's name.
        key_digest: of the key for ComfyUI's API nodes (``digest_key``). Nodes could find the key itself here.
        workflow: the graph.
        image_format: format of the images that SaveImage saves.
        extra_pnginfo: what the editor adds to the graph.
        save_metadata: whether nodes may write metadata into files.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    key_digest: str = "no key"
    workflow: Mapping[str, Any] = field(default_factory=dict, repr=False)
    image_format: ImageFormat = PNG
    extra_pnginfo: Mapping[str, Any] | None = field(default=None, repr=False)
    save_metadata: bool = False

    @cached_property
    def files_digest(self) -> str:
        """Different for each set of input files: their names and their content."""
        return _digest(json.dumps(sorted(self.files.items())))

    @cached_property
    def graph_digest(self) -> str:
        """Different for each graph, and for what the editor adds to it."""
        return _digest(json.dumps([self.workflow, self.extra_pnginfo], sort_keys=True, default=repr))

    @cached_property
    def digest(self) -> str:
        """Different for each job that asks for something else."""
        asked = [self.graph_digest, self.files_digest, self.key_digest, self.image_format.name]
        return _digest(json.dumps([*asked, self.image_format.quality]))


def digest_key(api_key: str | None) -> str:
    """A text that is different for each key, and does not reveal the key."""
    return _digest(api_key) if api_key else "no key"


def install_fingerprints(execution: Any, classes: NodeClasses, current: Callable[[], JobContent]) -> None:
    """Add what a node gets from the job to the fingerprint that ComfyUI computes for the node.

    Args:
        execution: ComfyUI's ``execution`` module.
        classes: ComfyUI's node classes.
        current: returns the content of the job that runs.
    """
    original = execution.IsChangedCache.get

    async def get(self: Any, node_id: str) -> Any:
        fingerprint = await original(self, node_id)
        marks = self.__dict__.setdefault("worker_marks", {})
        if node_id not in marks:
            marks[node_id] = _marks(self.dynprompt, node_id, classes, current())
        return [fingerprint, *marks[node_id]] if marks[node_id] else fingerprint

    execution.IsChangedCache.get = get


def _marks(dynprompt: Any, node_id: str, classes: NodeClasses, content: JobContent) -> tuple[str, ...]:
    """Texts that change when something changes that a node gets besides its inputs."""
    node = dynprompt.get_node(node_id)
    class_type, wanted, marks = node["class_type"], content.image_format, []
    if wanted.name != "png" and classes.is_save_image(class_type):
        marks.append(f"{wanted.name} {wanted.quality}")
    hidden = classes.hidden_inputs(class_type)
    if hidden.api_key:
        marks.append(content.key_digest)
    if hidden.graph:
        marks.append(content.graph_digest)
    if content.save_metadata and classes.adds_metadata(class_type):
        marks.append("metadata")
    if classes.may_read_files(class_type):
        marks += _of_reader(dynprompt, node, classes, content)
    elif content.files:
        marks += sorted(set(_named(node["inputs"], content.files)))
    return tuple(marks)


def _of_reader(dynprompt: Any, node: Mapping[str, Any], classes: NodeClasses, content: JobContent) -> list[str]:
    """Marks of a node that can open files.

    What it may open of the files that the job itself saves follows from the job's graph and its input files.
    """
    inputs, is_builtin = node["inputs"], classes.is_builtin(node["class_type"])
    computed = any(_is_computed(dynprompt, node, name, classes) for name in inputs)
    if classes.reads_saved_files(node["class_type"]) or (computed and is_builtin) or _names_saved(inputs):
        return [content.graph_digest, content.files_digest]
    if not content.files:
        return []
    if computed or _names_all(inputs):
        return [content.files_digest]
    return sorted(set(_named(inputs, content.files)) | set(_matching(inputs, content.files)))


def _is_computed(dynprompt: Any, node: Mapping[str, Any], name: str, classes: NodeClasses) -> bool:
    """Whether an input comes from another node, and may be the name of a file."""
    link = node["inputs"][name]
    if not (isinstance(link, list) and len(link) == 2 and isinstance(link[0], str)):
        return False
    if not dynprompt.has_node(link[0]):
        return True
    source = dynprompt.get_node(link[0])["class_type"]
    return not classes.hands_object(source, link[1], node["class_type"], name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _named(inputs: Any, files: Mapping[str, str]) -> Iterator[str]:
    """Hashes of the files that strings in ``inputs`` refer to: a string contains the file's name, or is its folder."""
    for value in _strings(inputs):
        text = _SEPARATORS.sub("/", value)
        bare = text.rstrip("/")
        for name, content in files.items():
            if name in text or (bare and name.startswith(bare + "/")):
                yield content


def _matching(inputs: Any, files: Mapping[str, str]) -> Iterator[str]:
    """Hashes of the files that the strings in ``inputs`` name as patterns, such as ``*.png``."""
    for text in _strings(inputs):
        if any(sign in text for sign in "*?["):
            last = posixpath.basename(text)
            for name, content in files.items():
                if fnmatchcase(name, text) or fnmatchcase(posixpath.basename(name), last):
                    yield content


def _names_all(inputs: Any) -> bool:
    """Whether a string in ``inputs`` is a path of the input folder itself, or leads out of it and maybe back."""
    return any(text and posixpath.normpath(text).split("/")[0] in (".", "..") for text in _strings(inputs))


def _names_saved(inputs: Any) -> bool:
    """Whether a string in ``inputs`` is the name of a file in the output or temp folder, in ComfyUI's notation."""
    return any(text.endswith(("[output]", "[temp]")) for text in _strings(inputs))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
