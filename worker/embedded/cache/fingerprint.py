"""Adds a job's files, key and graph to the fingerprint by which ComfyUI's cache recognizes a node.

For an input file, ComfyUI's fingerprint holds what the node returns: LoadImage its content, LoadVideo its time, Load3D
and others only its name. It does not hold what a node gets besides its inputs: the API key and the whole graph. Without
these, the cache would give results of one caller's files or secrets to the next caller.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
    """

    files: Mapping[str, str] = field(default_factory=dict)
    key_digest: str = "no key"
    workflow: Mapping[str, Any] = field(default_factory=dict, repr=False)
    image_format: ImageFormat = PNG

    @cached_property
    def graph_digest(self) -> str:
        """Different for each graph."""
        return _digest(json.dumps(self.workflow, sort_keys=True, default=repr))


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
            marks[node_id] = _marks(self.dynprompt.get_node(node_id), classes, current())
        return [fingerprint, *marks[node_id]] if marks[node_id] else fingerprint

    execution.IsChangedCache.get = get


def _marks(node: Mapping[str, Any], classes: NodeClasses, content: JobContent) -> tuple[str, ...]:
    """Texts that change when something changes that ``node`` gets besides its inputs."""
    class_type, wanted, marks = node["class_type"], content.image_format, []
    if wanted.name != "png" and classes.is_save_image(class_type):
        marks.append(f"{wanted.name} {wanted.quality}")
    hidden = classes.hidden_inputs(class_type)
    if hidden.api_key:
        marks.append(content.key_digest)
    if hidden.graph:
        marks.append(content.graph_digest)
    if content.files:
        marks += sorted(set(_named(node["inputs"], content.files)))
    return tuple(marks)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _named(value: Any, files: Mapping[str, str]) -> Iterator[str]:
    """Hashes of the files that strings in ``value`` refer to: a string contains the file's name, or is its folder."""
    if isinstance(value, str):
        text = _SEPARATORS.sub("/", value)
        bare = text.rstrip("/")
        for name, content in files.items():
            if name in text or (bare and name.startswith(bare + "/")):
                yield content
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _named(inner, files)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named(inner, files)
