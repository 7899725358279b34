"""A running ComfyUI, as the rest of the worker sees it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import psutil

from worker.comfy_runtime.folders import ComfyFolders
from worker.comfy_runtime.node_packs import NodePack
from worker.comfy_runtime.prompts import PromptRunner
from worker.comfy_runtime.source import ComfySource
from worker.workspace import StateFolder


@dataclass(frozen=True)
class Runtime:
    """ComfyUI in this process.

    Attributes:
        source: the tree it runs from.
        folders: its constant folders, which jobs' files visit.
        flags: the command line it was started with.
        node_packs: custom node packs, with import times and failures.
        timings: seconds of each step of the start.
        prompts: queues and runs prompts.
    """

    source: ComfySource
    folders: ComfyFolders
    flags: tuple[str, ...]
    node_packs: tuple[NodePack, ...]
    timings: dict[str, float]
    prompts: PromptRunner
    _main: Any = field(repr=False)

    @property
    def state(self) -> StateFolder:
        """The process's state folder."""
        return self.folders.state

    def has_node_class(self, class_type: str) -> bool:
        """Whether a node class of this name is loaded."""
        return class_type in self._main.nodes.NODE_CLASS_MAPPINGS

    def model_files(self, folder: str) -> list[str]:
        """Names of the model files in ``folder`` (``checkpoints``, ``loras``, …), as workflows name them."""
        return list(self._main.folder_paths.get_filename_list(folder))

    def model_folders(self) -> dict[str, list[str]]:
        """Every model folder that this version knows, with the paths it is read from, but for the state folder's."""
        known = self._main.folder_paths.folder_names_and_paths
        own = f"{self.state.root}/"
        return {
            name: [path for path in paths if not path.startswith(own)]
            for name, (paths, _) in known.items()
            if name != "custom_nodes"
        }

    def device(self) -> dict[str, Any]:
        """``name`` and ``type``; ``free``, ``total``, ``ram_free``, ``ram_total`` in bytes; ``torch``: its version."""
        management = self._main.comfy.model_management
        device = management.get_torch_device()
        return {
            "name": management.get_torch_device_name(device),
            "type": device.type,
            "free": int(management.get_free_memory(device)),
            "total": int(management.get_total_memory(device)),
            "ram_free": psutil.virtual_memory().available,
            "ram_total": psutil.virtual_memory().total,
            "torch": importlib.import_module("torch").__version__,
        }
