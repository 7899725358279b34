"""Finds model files as the ComfyUI that is loaded does."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from worker.models.readahead.names import NamedModel, Workflow
from worker.models.references import Catalog


class Loaded(Catalog, Protocol):
    """What the loaded ComfyUI knows."""

    def is_output(self, class_type: str) -> bool:
        """Whether a node class saves or shows something."""


class KnownModels:
    """Finds files by the inputs of the node classes: only what ComfyUI itself would load for the workflow."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def outputs(self, workflow: Workflow) -> list[str]:
        """Ids of the nodes that save or show something."""
        return [node_id for node_id, node in workflow.items() if self._loaded.is_output(node["class_type"])]

    def find(self, named: NamedModel) -> Path | None:
        """The file that ComfyUI loads for ``named``. None if the input takes no model file, or the file is missing."""
        folder, no_files = self._loaded.model_inputs(named.class_type).get(named.input_name, (None, frozenset()))
        if folder is None or named.name in no_files:
            return None
        return self._loaded.model_path(folder, named.name)
