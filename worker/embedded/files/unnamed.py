"""Files that output nodes save without naming them, as CheckpointSave does. The output folder shows whose they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


class UnnamedFiles:
    """Watches the output folder while a prompt runs. What is new there after a node that names nothing is that node's.

    Args:
        output: ComfyUI's output folder.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self.begin()

    def begin(self) -> None:
        """A prompt begins."""
        self._found: dict[str, tuple[str, ...]] = {}
        self._watched: str | None = None
        self._before: set[str] = set()

    def node_starts(self, watched: str | None) -> None:
        """The node before is done, and another one is about to run. ``watched``: its id, if it saves files."""
        self._end_node()
        if watched is not None:
            self._watched, self._before = watched, self._files()

    def node_names(self, node_id: str) -> None:
        """A node has told what it has saved or shown."""
        if node_id == self._watched:
            self._watched = None

    def end(self) -> Mapping[str, tuple[str, ...]]:
        """The prompt has ended: paths in the output folder, by the node that saved them."""
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
