"""What a job brings along becomes part of what ComfyUI's cache knows a node by.

ComfyUI knows a file by what a node tells of it: LoadImage its content, LoadVideo its time, Load3D and others nothing
but its name. And it does not know what a node was told beside its inputs: one that asked for the caller's API key, or
for the whole graph, is served from the cache to the next caller. Each would hand one job's secrets or files to another.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from worker.images.formats import PNG, ImageFormat

_SEPARATORS = re.compile(r"/(?:\./|/)*")
_KEY_INPUTS = frozenset({"API_KEY_COMFY_ORG", "AUTH_TOKEN_COMFY_ORG"})
_GRAPH_INPUTS = frozenset({"PROMPT", "DYNPROMPT", "EXTRA_PNGINFO"})


@dataclass(frozen=True)
class JobContent:
    """``files``: content hash of each input file by its name. ``api_key``: the caller's. ``workflow``: the graph."""

    files: Mapping[str, str] = field(default_factory=dict)
    api_key: str | None = field(default=None, repr=False)
    workflow: Mapping[str, Any] = field(default_factory=dict, repr=False)
    image_format: ImageFormat = PNG

    @cached_property
    def key_digest(self) -> str:
        """Tells keys apart without being one."""
        return _digest(self.api_key) if self.api_key else "no key"

    @cached_property
    def graph_digest(self) -> str:
        """Tells graphs apart."""
        return _digest(json.dumps(self.workflow, sort_keys=True, default=repr))


def install_fingerprints(
    execution: Any, node_classes: Mapping[str, Any], current: Callable[[], JobContent], *, metadata: bool
) -> None:
    """Add the content that a node is given to the fingerprint which ComfyUI takes of it.

    Args:
        execution: ComfyUI's module.
        node_classes: node classes by name.
        current: gives the content of the job that runs.
        metadata: whether ComfyUI's own nodes write the graph into files; if not, they do nothing else with it.
    """
    original = execution.IsChangedCache.get
    asked_for: dict[Any, tuple[bool, bool]] = {}

    def mark(node: Mapping[str, Any]) -> tuple[str, ...]:
        content = current()
        node_class = node_classes[node["class_type"]]
        if node_class not in asked_for:
            asked_for[node_class] = _asks_for(node_class, metadata=metadata)
        key, graph = asked_for[node_class]
        wanted = content.image_format
        form = (
            (f"{wanted.name} {wanted.quality}",) if node["class_type"] == "SaveImage" and wanted.name != "png" else ()
        )
        told = (*form, *((content.key_digest,) if key else ()), *((content.graph_digest,) if graph else ()))
        return (*told, *sorted(set(_named(node["inputs"], content.files)))) if content.files else told

    async def get(self: Any, node_id: str) -> Any:
        fingerprint = await original(self, node_id)
        marks = self.__dict__.setdefault("worker_marks", {})
        if node_id not in marks:
            marks[node_id] = mark(self.dynprompt.get_node(node_id))
        return [fingerprint, *marks[node_id]] if marks[node_id] else fingerprint

    execution.IsChangedCache.get = get


def _asks_for(node_class: Any, *, metadata: bool) -> tuple[bool, bool]:
    """Whether a node is told the API key, and whether it is told the graph."""
    hidden = node_class.INPUT_TYPES().get("hidden") or {}
    kinds = {str(getattr(kind, "value", kind)) for kind in hidden.values()}
    own = not getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes").startswith("custom_nodes")
    return bool(kinds & _KEY_INPUTS), bool(kinds & _GRAPH_INPUTS) and (metadata or not own)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _named(value: Any, files: Mapping[str, str]) -> Iterator[str]:
    """Hashes of the files that the strings in ``value`` name: anywhere in them, or as their folder."""
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
