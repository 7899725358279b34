"""Files that output nodes save without naming them, as CheckpointSave does: whose they are is seen in the folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path


class UnnamedFiles:
    """Watches the output folder while a prompt runs: what is new after an output node that names nothing is its.

    Args:
        output: ComfyUI's output folder.
        is_output_node: whether a node class is one that saves.
    """

    def __init__(self, output: Path, is_output_node: Callable[[str], bool]) -> None:
        self._output = output
        self._is_output_node = is_output_node
        self._found: dict[str, tuple[str, ...]] = {}
        self._node: str | None = None
        self._before: set[str] = set()

    def begin(self) -> None:
        """A prompt begins."""
        self._found, self._node = {}, None

    def node_starts(self, node_id: str, class_type: str | None) -> None:
        """A node is about to run, so the one before it is done."""
        self._end_node()
        if class_type is not None and class_type != "SaveImage" and self._is_output_node(class_type):
            self._node, self._before = node_id, self._files()

    def node_names(self, node_id: str) -> None:
        """A node has told what it has saved or shown."""
        if node_id == self._node:
            self._node = None

    def end(self) -> Mapping[str, tuple[str, ...]]:
        """The prompt has ended: paths in the output folder, by the node that saved them."""
        self._end_node()
        return self._found

    def _end_node(self) -> None:
        if self._node is not None:
            new = self._files() - self._before
            if new:
                self._found[self._node] = tuple(sorted(new))
        self._node = None

    def _files(self) -> set[str]:
        return {
            os.path.relpath(os.path.join(folder, name), self._output)  # noqa: PTH118
            for folder, _, names in os.walk(self._output)
            for name in names
        }
