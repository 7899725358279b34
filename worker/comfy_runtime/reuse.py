"""Files of nodes that ComfyUI's cache answers for.

A node that is served from the cache names files of an earlier job, and those have left with it. A save node, whose
outputs are just what it was given, is made to run again; a node that computes something and saves it as well, such as
a sampler pack's, keeps its files as long as the cache keeps its outputs, within a limit of bytes.
"""

from __future__ import annotations

import itertools
import shutil
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_KEEP_BYTES = 512 * 1024**2


@dataclass(frozen=True)
class _KeptFile:
    relative: Path
    copy: Path
    size: int


@dataclass
class FileReuse:
    """Keeps the cache of ``executor`` honest about files.

    Args:
        executor: ComfyUI's ``PromptExecutor``.
        output: its output folder.
        temp: its temp folder.
        keep: where files are kept; on the same file system.
    """

    executor: Any
    output: Path
    temp: Path
    keep: Path
    limit_bytes: int = _KEEP_BYTES
    _kept: OrderedDict[Hashable, list[_KeptFile]] = field(default_factory=OrderedDict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def before(self, cached_nodes: Sequence[str]) -> list[str]:
        """Bring back the files of ``cached_nodes``; where they are gone, let that node run again.

        Called between ComfyUI's look into its cache and its first node. Returns the nodes that stay cached.
        """
        return [node_id for node_id in cached_nodes if self._bring_back(node_id)]

    def after(self, outputs: Mapping[str, Mapping[str, Any]], graph: Mapping[str, Any]) -> None:
        """Look at what a prompt left in the cache, while its files still lie in ComfyUI's folders."""
        for node_id, output in outputs.items():
            files = [entry for entry in file_entries(output) if entry.get("type") == "output"]
            if not files:
                continue
            if node_id not in graph or self._only_saves(node_id, graph) or not self._keep(node_id, files):
                self._forget(node_id)
        for node_id in graph:
            if (entry := self._entry(node_id)) is not None and self._mentions_folder(entry.outputs):
                self._forget(node_id)
        self._purge()

    def _bring_back(self, node_id: str) -> bool:
        entry = self._entry(node_id)
        ui = getattr(entry, "ui", None)
        wanted = [e for e in file_entries((ui or {}).get("output", {})) if e.get("type") == "output"]
        if not wanted:
            return True
        kept = self._kept.get(self._key(node_id))
        if kept is None:
            self._forget(node_id)
            return False
        for file in kept:
            target = self.output / file.relative
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(file.copy, target)
        self._kept.move_to_end(self._key(node_id))
        return True

    def _only_saves(self, node_id: str, graph: Mapping[str, Any]) -> bool:
        """Whether a node's outputs are the very objects that it was given."""
        entry = self._entry(node_id)
        if entry is None or entry.outputs is None:
            return True
        given = {id(item) for link in graph[node_id]["inputs"].values() for item in self._linked(link)}
        return all(id(item) in given for slot in entry.outputs for item in slot)

    def _linked(self, link: Any) -> Sequence[Any]:
        if not (isinstance(link, list) and len(link) == 2 and isinstance(link[0], str)):
            return ()
        entry = self._entry(link[0])
        outputs = getattr(entry, "outputs", None)
        return outputs[link[1]] if outputs is not None and link[1] < len(outputs) else ()

    def _keep(self, node_id: str, files: Sequence[Mapping[str, Any]]) -> bool:
        key, kept = self._key(node_id), []
        self._drop(key)
        for entry in files:
            relative = Path(str(entry.get("subfolder") or "")) / str(entry["filename"])
            source = self.output / relative
            if not source.is_file() or not source.resolve().is_relative_to(self.output.resolve()):
                return False
            copy = self.keep / str(next(self._numbers))
            _link(source, copy)
            kept.append(_KeptFile(relative, copy, source.stat().st_size))
        self._kept[key] = kept
        return True

    def _purge(self) -> None:
        """Let go of files whose node the cache has forgotten, and of the oldest over the limit."""
        cache = getattr(self.executor.caches.outputs, "cache", {})
        for key in [key for key in self._kept if key not in cache]:
            self._drop(key)
        size = sum(file.size for files in self._kept.values() for file in files)
        while size > self.limit_bytes:
            size -= self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> int:
        files = self._kept.pop(key, [])
        for file in files:
            file.copy.unlink(missing_ok=True)
        return sum(file.size for file in files)

    def _mentions_folder(self, value: Any) -> bool:
        """Whether ``value`` holds a path into folders that are emptied after the job."""
        if isinstance(value, str):
            return value.startswith((f"{self.output}/", f"{self.temp}/"))
        if isinstance(value, dict):
            return any(map(self._mentions_folder, value.values()))
        return isinstance(value, list | tuple) and any(map(self._mentions_folder, value))

    def _entry(self, node_id: str) -> Any:
        owner = self._owner(node_id)
        return owner.cache.get(owner.cache_key_set.get_data_key(node_id)) if owner is not None else None

    def _key(self, node_id: str) -> Hashable:
        owner = self._owner(node_id)
        key: Hashable = owner.cache_key_set.get_data_key(node_id) if owner is not None else None
        return key

    def _forget(self, node_id: str) -> None:
        """Take a node out of the cache, with the nodes whose expansion it came from; nothing else runs again."""
        dynprompt = getattr(self.executor.caches.outputs, "dynprompt", None)
        current: str | None = node_id
        while current is not None:
            owner = self._owner(current)
            if owner is not None:
                owner.cache.pop(owner.cache_key_set.get_data_key(current), None)
            current = dynprompt.get_parent_node_id(current) if dynprompt is not None else None

    def _owner(self, node_id: str) -> Any:
        """The cache, or the cache of the expansion, that holds a node; None where nothing is cached."""
        cache = self.executor.caches.outputs
        if not hasattr(cache, "cache_key_set"):
            return None
        find = getattr(cache, "_get_cache_for", None)
        return find(node_id) if find is not None else cache


def file_entries(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The ``{filename, subfolder, type}`` entries in a node's ui dict, under whatever key."""
    lists = [value for value in output.values() if isinstance(value, list | tuple)]
    return [entry for entries in lists for entry in entries if isinstance(entry, dict) and "filename" in entry]


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # A file system without hard links.
        shutil.copyfile(source, target)
