"""Finds the files that nodes save without naming them, as CheckpointSave does, or beside those that they name."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

_CLOCK_OF_FILES = 5  # Linux' CLOCK_REALTIME_COARSE, which ``time`` does not name. The finer one may be ahead of a file.


class UnnamedFiles:
    """Tells which node has saved a file that no node names.

    It looks into the output folder when an output node has ended, and at the end of the prompt, but only if a node has
    run that may save files. A new file belongs to the last such node that had begun by the file's time.

    Args:
        output: ComfyUI's output folder.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._known: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Begin a prompt. What earlier prompts of the job have left is known, if it is still there."""
        if self._known:
            self._known &= self._files()
        self._found: dict[str, list[str]] = {}
        self._begun: list[tuple[int, str]] = []
        self._looks_after_node = False

    def bring_back(self, paths: Iterable[str]) -> None:
        """Note files that are in the output folder again, for nodes that ComfyUI serves from its cache."""
        self._known.update(paths)

    def node_starts(self, node_id: str, *, may_save: bool, is_output: bool) -> None:
        """Note that the node before has ended and another one begins, which ``may_save`` files without naming them."""
        if self._looks_after_node:
            self._look()
        self._looks_after_node = may_save and is_output
        if may_save:
            self._begun.append((time.clock_gettime_ns(_CLOCK_OF_FILES), node_id))

    def end(self, named: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """End the prompt. Returns the files that are not in ``named``, by the id of their node.

        All paths are relative to the output folder.
        """
        if self._begun:
            self._look()
        unnamed = {node_id: sorted(set(paths).difference(named)) for node_id, paths in self._found.items()}
        return {node_id: tuple(paths) for node_id, paths in unnamed.items() if paths}

    def _look(self) -> None:
        for path in self._files() - self._known:
            self._known.add(path)
            self._found.setdefault(self._saver(path), []).append(path)

    def _saver(self, path: str) -> str:
        try:
            changed = os.lstat(self._output / path).st_ctime_ns  # Unlike the time of its content, no node sets this.
        except OSError:  # It is gone again.
            changed = 0
        return next((node_id for at, node_id in reversed(self._begun) if at <= changed), self._begun[0][1])

    def _files(self) -> set[str]:
        root = f"{self._output}/"
        return {
            os.path.join(folder, name).removeprefix(root)  # noqa: PTH118
            for folder, _, names in os.walk(self._output)
            for name in names
        }
