"""Finds the files that output nodes save without naming them, as CheckpointSave does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


class UnnamedFiles:
    """Watches the output folder while a prompt runs. New files there belong to the node that ran, if it named nothing.

    Args:
        output: ComfyUI's output folder.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self.begin()

    def begin(self) -> None:
        """Begin to watch a prompt."""
        self._found: dict[str, tuple[str, ...]] = {}
        self._watched: str | None = None
        self._before: set[str] = set()

    def node_starts(self, watched: str | None) -> None:
        """End the node before, since another one starts. ``watched``: the new node's id, if it may save files."""
        self._end_node()
        if watched is not None:
            self._watched, self._before = watched, self._files()

    def node_names(self, node_id: str) -> None:
        """Note that a node has named what it saved or showed."""
        if node_id == self._watched:
            self._watched = None

    def end(self) -> Mapping[str, tuple[str, ...]]:
        """End the prompt. Returns the unnamed files as paths in the output folder, by the id of their node."""
        self._end_node()
        return self._found

    def _end_node(self) -> None:
        if self._watched is not None:
            new = self._files() - self._before
            if new:
                self._found[self._watched] = tuple(sorted(new))
        self._watched = None

    def _files(self) -> set[str]:
        return {
            os.path.relpath(os.path.join(folder, name), self._output)  # noqa: PTH118
            for folder, _, names in os.walk(self._output)
            for name in names
        }
