"""Files of nodes that ComfyUI's cache answers for.

A node that is served from the cache names files of an earlier job, and those have left with it. So they are kept, for
as long as the cache keeps the node's outputs and within a limit of bytes, and brought back before the next prompt that
needs them. Where they are gone, that node alone runs again: its entry is taken out of the cache, nothing else changes.
"""

from __future__ import annotations

import gc
import itertools
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.protocol.prompt_outcome import file_entries

_KEEP_BYTES = 512 * 1024**2
_KEEP_NODES = 1000
_PURGED_AT_ONCE = 4
_NUMBERED = re.compile(r"(.*?)_(\d{5,})_?\.\w+")


@dataclass(frozen=True)
class _KeptFile:
    """A second name of a file that a job has saved. ``stamp``: its size and time, by which one sees a later change."""

    relative: Path
    second: Path
    stamp: tuple[int, int]

    @property
    def size(self) -> int:
        return self.stamp[0]

    def is_unchanged(self) -> bool:
        return _stamp(self.second) == self.stamp

    def counter(self) -> tuple[str, int] | None:
        """What ``ComfyUI_00002_.png`` is numbered under, and its number."""
        numbered = _NUMBERED.fullmatch(str(self.relative))
        return (numbered[1], int(numbered[2])) if numbered else None


@dataclass(frozen=True)
class _Kept:
    """A node's files. ``only_saves``: its outputs are the very objects that it was given, so it costs no computing."""

    files: tuple[_KeptFile, ...]
    only_saves: bool


@dataclass
class FileReuse:
    """Keeps the cache of ``executor`` honest about files.

    Args:
        executor: ComfyUI's ``PromptExecutor``.
        output: its output folder.
        temp: its temp folder.
        keep: where files are kept, under second names.
    """

    executor: Any
    output: Path
    temp: Path
    keep: Path
    limit_bytes: int = _KEEP_BYTES
    _kept: OrderedDict[Hashable, _Kept] = field(default_factory=OrderedDict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _brought_back: set[str] = field(default_factory=set)
    _size: int = 0

    def __post_init__(self) -> None:
        self._real_output = os.path.realpath(self.output) + "/"
        self._folders = (f"{self.output}/", f"{self.temp}/")

    def before(self, cached_nodes: Sequence[str]) -> list[str]:
        """Bring back the files of ``cached_nodes``; where that cannot be, let the node run again.

        Called between ComfyUI's look into its cache and its first node. Returns the nodes that stay cached.
        """
        saved = {node_id: self._kept.get(self._key(node_id)) for node_id in cached_nodes if self._saved(node_id)}
        gone = {node_id for node_id, kept in saved.items() if kept is None}
        found = {node_id: kept for node_id, kept in saved.items() if kept is not None}
        for node_id in gone | _out_of_order(found):
            self._forget(node_id)
            found.pop(node_id, None)
        self._brought_back = {node_id for node_id, kept in found.items() if self._bring_back(node_id, kept)}
        return [node_id for node_id in cached_nodes if node_id in self._brought_back or node_id not in saved]

    def after(self, outputs: Mapping[str, Mapping[str, Any]], graph: Mapping[str, Any]) -> None:
        """Look at what a prompt left in the cache, while its files still lie in ComfyUI's folders."""
        for node_id in dict.fromkeys([*outputs, *graph]):
            if node_id in self._brought_back:
                continue  # What is kept of it is right; a node of this job may have overwritten the file.
            files = self._files(node_id, outputs.get(node_id, {}))
            if files and (node_id not in graph or not self._keep(node_id, files, graph)):
                self._forget(node_id)
        self._purge()

    def forget(self, node_ids: Iterable[str]) -> None:
        """Let nodes run again in the next job: what they saved and did not name cannot be brought back."""
        for node_id in node_ids:
            self._forget(node_id)

    def after_failure(self, graph: Mapping[str, Any]) -> None:
        """Let go of nodes that hand on themselves: a batch that was cut short would go on in the next job."""
        objects = self.executor.caches.objects
        if not hasattr(objects, "cache_key_set"):
            return
        found = False
        for node_id in graph:
            key = objects.cache_key_set.get_data_key(node_id)
            instance, entry = objects.cache.get(key), self._entry(node_id)
            if instance is None or entry is None or entry.outputs is None:
                continue
            if any(item is instance for slot in entry.outputs for item in slot):
                self._forget(node_id)
                objects.cache.pop(key)
                found = True
        if found:
            gc.collect()  # What they left open is closed while their files are still the job's.

    def _files(self, node_id: str, output: Mapping[str, Any]) -> set[str]:
        """Files of the output and temp folders that a node's ui or its outputs name."""
        entry = self._entry(node_id)
        folder = str(self.output)
        # Strings, not paths: this is done for every node of every job.
        named = {
            os.path.join(folder, str(e.get("subfolder") or ""), str(e["filename"]))  # noqa: PTH118
            for e in _saved_entries(output)
        }
        return named | set(self._paths(getattr(entry, "outputs", None)))

    def _saved(self, node_id: str) -> bool:
        ui = getattr(self._entry(node_id), "ui", None) or {}
        return bool(self._files(node_id, ui.get("output", {})))

    def _bring_back(self, node_id: str, kept: _Kept) -> bool:
        try:
            if not all(file.is_unchanged() for file in kept.files):
                self._forget(node_id)
                return False
            for file in kept.files:
                target = self.output / file.relative
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.second, target)  # No link: this job may write into it, and that one is another's.
        except OSError:  # No room, for example: then the node shall find that out itself.
            self._forget(node_id)
            return False
        self._kept.move_to_end(self._key(node_id))
        return True

    def _only_saves(self, node_id: str, graph: Mapping[str, Any]) -> bool:
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

    def _keep(self, node_id: str, files: Iterable[str], graph: Mapping[str, Any]) -> bool:
        """Keep ``files``; False where that cannot be: the cache has no entry, a file is gone, no room."""
        key = self._key(node_id)
        self._drop(key)
        if self._entry(node_id) is None:
            return False
        kept: list[_KeptFile] = []
        try:
            for source in files:
                kept.append(self._second(source))
        except (OSError, ValueError):  # A name with a NUL is a ValueError.
            for file in kept:
                file.second.unlink(missing_ok=True)
            return False
        self._kept[key] = _Kept(tuple(kept), self._only_saves(node_id, graph))
        self._size += sum(file.size for file in kept)
        return True

    def _second(self, source: str) -> _KeptFile:
        real = os.path.realpath(source)
        if not real.startswith(self._real_output):
            raise FileNotFoundError(source)
        second = self.keep / str(next(self._numbers))
        try:
            os.link(real, second)
        except OSError:  # Not every file system has links.
            shutil.copyfile(real, second)
        return _KeptFile(Path(source).relative_to(self.output), second, _stamp(second))

    def _purge(self) -> None:
        """Let go of files whose node the cache has forgotten, oldest first, and of the oldest over the limits."""
        cache = getattr(self.executor.caches.outputs, "cache", {})
        for key in list(itertools.islice(self._kept, _PURGED_AT_ONCE)):
            if key not in cache:
                self._drop(key)
        while self._size > self.limit_bytes or len(self._kept) > _KEEP_NODES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        for file in kept.files if kept else ():
            file.second.unlink(missing_ok=True)
            self._size -= file.size

    def _paths(self, value: Any) -> Iterator[str]:
        """Paths in ``value`` that lead into folders which are emptied after the job."""
        if isinstance(value, str):
            if value.startswith(self._folders):
                yield value
        elif isinstance(value, dict | list | tuple):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from self._paths(inner)

    def _entry(self, node_id: str) -> Any:
        owner = self._owner(node_id)
        return owner.cache.get(self._key(node_id)) if owner is not None else None

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
                owner.cache.pop(self._key(current), None)
            current = dynprompt.get_parent_node_id(current) if dynprompt is not None else None

    def _owner(self, node_id: str) -> Any:
        """The cache, or the cache of the expansion, that holds a node; None where nothing is cached."""
        cache = self.executor.caches.outputs
        if not hasattr(cache, "cache_key_set"):
            return None
        find = getattr(cache, "_get_cache_for", None)
        return find(node_id) if find is not None else cache


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _out_of_order(found: Mapping[str, _Kept]) -> set[str]:
    """Nodes that only save, and whose files have numbers that the job would not have given them on its own."""
    numbers: dict[str, set[int]] = {}
    counters = {node_id: [c for file in kept.files if (c := file.counter())] for node_id, kept in found.items()}
    for prefix, number in itertools.chain.from_iterable(counters.values()):
        numbers.setdefault(prefix, set()).add(number)
    first_gap = {prefix: next(n for n in itertools.count(1) if n not in used) for prefix, used in numbers.items()}
    return {
        node_id
        for node_id, used in counters.items()
        if found[node_id].only_saves and any(number > first_gap[prefix] for prefix, number in used)
    }


def _saved_entries(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in file_entries(output) if entry.get("type") == "output"]
