"""Keeps the files of nodes that ComfyUI serves from its cache, and brings them back for later jobs.

Such a node names files of an earlier job, which left ComfyUI's folders with that job. So the files are kept while the
cache keeps the node's outputs, up to a limit of bytes, and are brought back before the next prompt that needs them. If
they are gone, only that node runs again: its entry is removed from the cache.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.embedded.cache.fingerprint import JobContent
from worker.embedded.cache.kept import Kept, KeptFile, Unlisted, out_of_order, stamp
from worker.embedded.cache.node_cache import NodeCache
from worker.protocol.prompt_outcome import file_entries

_KEEP_BYTES = 512 * 1024**2
_KEEP_NODES = 1000
_PURGED_AT_ONCE = 4


@dataclass
class FileReuse:
    """Keeps files for the nodes in ``cache``.

    Args:
        cache: ComfyUI's cache.
        output: ComfyUI's output folder.
        temp: ComfyUI's temp folder.
        keep: the folder where files are kept, under second names.
        limit_bytes: most bytes that are kept.
    """

    cache: NodeCache
    output: Path
    temp: Path
    keep: Path
    limit_bytes: int = _KEEP_BYTES
    _kept: OrderedDict[Hashable, Kept] = field(default_factory=OrderedDict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _brought_back: dict[str, Kept] = field(default_factory=dict)
    _size: int = 0

    def __post_init__(self) -> None:
        self._real_output = os.path.realpath(self.output) + "/"
        self._folders = (f"{self.output}/", f"{self.temp}/")

    def begin(self) -> None:
        """Begin a prompt, of which ComfyUI may not even look into its cache."""
        self._brought_back = {}

    def before(self, cached_nodes: Sequence[str], content: JobContent) -> list[str]:
        """Bring back the files of ``cached_nodes``; a node whose files cannot be brought back runs again.

        Call it after ComfyUI has looked into its cache and before the first node runs. ``content``: of the job that
        runs. Returns the nodes that stay cached.
        """
        saved = {node_id: self._kept.get(self.cache.key(node_id)) for node_id in cached_nodes if self._saved(node_id)}
        found = {node_id: kept for node_id, kept in saved.items() if kept is not None and kept.is_for(content)}
        for node_id in (saved.keys() - found.keys()) | out_of_order(found):
            self.cache.forget(node_id)
            found.pop(node_id, None)
        self._brought_back = {node_id: kept for node_id, kept in found.items() if self._bring_back(node_id, kept)}
        return [node_id for node_id in cached_nodes if node_id in self._brought_back or node_id not in saved]

    @property
    def brought_back(self) -> Mapping[str, Kept]:
        """The files that the last call of ``before`` has brought back, by the id of their node."""
        return self._brought_back

    def after(
        self, outputs: Mapping[str, Mapping[str, Any]], graph: Mapping[str, Any], unlisted: Mapping[str, Unlisted]
    ) -> None:
        """Keep the files of the nodes that a prompt left in the cache. The files must still be in ComfyUI's folders.

        Args:
            outputs: the ui dict of each node that has one.
            graph: the prompt's.
            unlisted: the files that no ui dict names, by the id of their node.
        """
        for node_id in dict.fromkeys([*outputs, *unlisted, *graph]):
            if node_id in self._brought_back:
                continue  # Its files are kept already, and the copies in ComfyUI's folders may have been overwritten.
            files = self._files(node_id, outputs.get(node_id, {})) | self._full(unlisted.get(node_id))
            if files and (node_id not in graph or not self._keep(node_id, files, graph, unlisted.get(node_id))):
                self.cache.forget(node_id)
        self._purge()

    def forget(self, node_ids: Iterable[str]) -> None:
        """Let nodes run again in the next job."""
        for node_id in node_ids:
            self.cache.forget(node_id)

    def _files(self, node_id: str, output: Mapping[str, Any]) -> set[str]:
        """Files of the output and temp folders that a node's ui or its outputs name."""
        folder = str(self.output)
        # Use strings, since Path is slow and this runs for every node of every job.
        named = {
            os.path.join(folder, str(e.get("subfolder") or ""), str(e["filename"]))  # noqa: PTH118
            for e in _saved_entries(output)
        }
        return named | set(self._paths(getattr(self.cache.entry(node_id), "outputs", None)))

    def _full(self, unlisted: Unlisted | None) -> set[str]:
        paths = (*unlisted.unnamed, *unlisted.sent) if unlisted else ()
        return {os.path.join(self.output, path) for path in paths}  # noqa: PTH118

    def _saved(self, node_id: str) -> bool:
        ui = self.cache.shown(node_id) or {}
        if self._files(node_id, ui.get("output", {})):
            return True
        kept = self._kept.get(self.cache.key(node_id))
        return kept is not None and kept.unlisted is not None

    def _bring_back(self, node_id: str, kept: Kept) -> bool:
        try:
            if not all(file.is_unchanged() for file in kept.files):
                self.cache.forget(node_id)
                return False
            for file in kept.files:
                target = self.output / file.relative
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.second, target)  # Not a link, since this job may write into its file.
        except OSError:  # For example, the disk is full. The node runs again, and reports that itself.
            self.cache.forget(node_id)
            return False
        self._kept.move_to_end(self.cache.key(node_id))
        return True

    def _only_saves(self, node_id: str, graph: Mapping[str, Any]) -> bool:
        entry = self.cache.entry(node_id)
        if entry is None or entry.outputs is None:
            return True
        given = {id(item) for link in graph[node_id]["inputs"].values() for item in self.cache.linked(link)}
        return all(id(item) in given for slot in entry.outputs for item in slot)

    def _keep(self, node_id: str, files: Iterable[str], graph: Mapping[str, Any], unlisted: Unlisted | None) -> bool:
        """Keep ``files``; False if that fails: the cache has no entry, a file is gone, too large, the disk is full."""
        key = self.cache.key(node_id)
        self._drop(key)
        if self.cache.entry(node_id) is None:
            return False
        kept: list[KeptFile] = []
        try:
            for source in files:
                kept.append(self._second(source))
            fits = sum(file.size for file in kept) <= self.limit_bytes  # What does not would only drop all others.
        except (OSError, ValueError):  # A name with a NUL is a ValueError.
            fits = False
        if not fits:
            for file in kept:
                _remove(file.second)
            return False
        self._kept[key] = Kept(tuple(kept), self._only_saves(node_id, graph), unlisted)
        self._size += sum(file.size for file in kept)
        return True

    def _second(self, source: str) -> KeptFile:
        # With strings, and without a walk along the path of a usual file: this runs for every file of every job.
        output = self._folders[0]
        name = source.removeprefix(output)
        is_usual = "/" not in name and not os.path.islink(source)  # noqa: PTH114
        real = self._real_output + name if is_usual else os.path.realpath(source)
        if not (source.startswith(output) and real.startswith(self._real_output)):
            raise FileNotFoundError(source)
        second = f"{self.keep}/{next(self._numbers)}"
        try:
            os.link(real, second)
        except OSError:  # Not every file system has links.
            shutil.copyfile(real, second)
        return KeptFile(name, second, stamp(second))

    def _purge(self) -> None:
        """Drop the files of nodes that are no longer cached, a few per call, and the oldest files above the limits."""
        for key in list(itertools.islice(self._kept, _PURGED_AT_ONCE)):
            if not self.cache.holds(key):
                self._drop(key)
        while self._size > self.limit_bytes or len(self._kept) > _KEEP_NODES:
            key, kept = next(iter(self._kept.items()))
            self._drop(key)
            if kept.unlisted is not None:  # Nothing else would tell that the node has files.
                self.cache.forget_key(key)

    def _drop(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        for file in kept.files if kept else ():
            _remove(file.second)
            self._size -= file.size

    def _paths(self, value: Any) -> Iterator[str]:
        """Paths in ``value`` that lead into the output or temp folder, which are emptied after the job."""
        waiting, seen = [value], set[int]()
        while waiting:
            found = waiting.pop()
            if isinstance(found, str):
                if found.startswith(self._folders):
                    yield found
            elif isinstance(found, dict | list | tuple) and id(found) not in seen:  # A node's result may hold itself.
                seen.add(id(found))
                waiting += found.values() if isinstance(found, dict) else found


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - faster.


def _saved_entries(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in file_entries(output) if entry.get("type") == "output"]
