"""What a job brings along becomes part of what ComfyUI's cache knows a node by.

ComfyUI knows a file by what a node tells of it: LoadImage its content, LoadVideo its time, Load3D and others nothing
but its name. And it does not know a caller's API key at all: a node that asked for one is served from the cache to the
next caller. Both would hand one job's result to another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_ANNOTATION = re.compile(r"\s*\[(input|output|temp)\]\s*$")
_KEY_INPUTS = ("API_KEY_COMFY_ORG", "AUTH_TOKEN_COMFY_ORG")


@dataclass(frozen=True)
class JobContent:
    """``files``: content hash of each input file by its name. ``api_key``: the caller's key."""

    files: Mapping[str, str] = field(default_factory=dict)
    api_key: str | None = field(default=None, repr=False)


def install_fingerprints(execution: Any, node_classes: Mapping[str, Any], current: Callable[[], JobContent]) -> None:
    """Add the content that a node names to the fingerprint which ComfyUI takes of it.

    Args:
        execution: ComfyUI's module.
        node_classes: node classes by name.
        current: gives the content of the job that runs.
    """
    original = execution.IsChangedCache.get
    wants_key: dict[Any, bool] = {}

    def mark(node: Mapping[str, Any]) -> tuple[str, ...]:
        content = current()
        node_class = node_classes[node["class_type"]]
        if node_class not in wants_key:
            wants_key[node_class] = _wants_key(node_class)
        key = (_digest(content.api_key),) if wants_key[node_class] else ()
        return (*key, *sorted(set(_named(node["inputs"], content.files)))) if content.files else key

    async def get(self: Any, node_id: str) -> Any:
        fingerprint = await original(self, node_id)
        marks = self.__dict__.setdefault("worker_marks", {})
        if node_id not in marks:
            marks[node_id] = mark(self.dynprompt.get_node(node_id))
        return [fingerprint, *marks[node_id]] if marks[node_id] else fingerprint

    execution.IsChangedCache.get = get


def _wants_key(node_class: Any) -> bool:
    hidden = node_class.INPUT_TYPES().get("hidden") or {}
    return any(str(getattr(kind, "value", kind)) in _KEY_INPUTS for kind in hidden.values())


def _digest(secret: str | None) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest() if secret else "no key"


def _named(value: Any, files: Mapping[str, str]) -> Iterator[str]:
    """Hashes of the files that the strings in ``value`` name, as a file, as a path that ends so, or as their folder."""
    if isinstance(value, str):
        bare = _ANNOTATION.sub("", value).rstrip("/")
        for name, content in files.items():
            if bare == name or bare.endswith("/" + name) or (bare and name.startswith(bare + "/")):
                yield content
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _named(inner, files)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named(inner, files)
