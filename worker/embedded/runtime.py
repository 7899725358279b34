"""``Runtime``: the running ComfyUI, as the rest of the worker sees it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from worker.embedded import versions
from worker.embedded.deferred.nodes.mapping import waits_for_pack
from worker.embedded.deferred.packs.late import LatePacks
from worker.embedded.files.cached_models import CachedModels
from worker.embedded.files.fetched_models import ShownModels
from worker.embedded.files.folders import ComfyFolders
from worker.embedded.files.job_files import JobFiles, OutputFiles
from worker.embedded.files.model_folders import model_folders, model_inputs
from worker.embedded.guards.admission import Admission
from worker.embedded.memory.device import DeviceMemory
from worker.embedded.memory.job_memory import JobMemory
from worker.embedded.prompts import PromptRunner
from worker.embedded.start.launch import Launch
from worker.embedded.start.node_packs import NodePack, failed_pack_of
from worker.embedded.start.source import ComfySource
from worker.engine.graph_run import GraphRun
from worker.engine.workspace import StateFolder
from worker.environment.manager_map import listed_packs
from worker.models.references import CachedFile, ModelFolder
from worker.protocol.spelling import names_below


@dataclass(frozen=True)
class Runtime:
    """ComfyUI in this process.

    Attributes:
        launch: what it was started with.
        folders: its folders, which hold the files of a job while that job runs.
        node_packs: custom node packs, with import times and failures. It changes when one is imported later.
        late_packs: those that are imported when they are needed.
        main: ComfyUI's ``main`` module.
        prompts: queues and runs prompts.
        files: follows the files that jobs save.
        memory: the device's memory.
        job_memory: what the running job takes of the host's memory.
        admission: decides which node classes may run.
        cached: the models that the platform has put there.
    """

    launch: Launch
    folders: ComfyFolders
    node_packs: Sequence[NodePack]
    late_packs: LatePacks
    main: Any = field(repr=False)
    prompts: PromptRunner
    files: OutputFiles
    memory: DeviceMemory
    job_memory: JobMemory
    admission: Admission
    cached: CachedModels = field(repr=False)

    @property
    def source(self) -> ComfySource:
        """The tree it runs from."""
        return self.launch.source

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags it was started with."""
        return self.launch.flags

    @property
    def volume(self) -> Path | None:
        """The network volume whose model folders it reads as well, or None."""
        return self.launch.volume

    @property
    def state(self) -> StateFolder:
        """The process's state folder."""
        return self.folders.state

    @cached_property
    def fetched(self) -> ShownModels:
        """Where jobs see the models that were fetched for them."""
        return ShownModels(self.main.folder_paths, self.state.root / "models")

    @contextmanager
    def files_of(self, run: GraphRun) -> Iterator[JobFiles]:
        """Within this context, ComfyUI sees the models that were fetched for a job, and its files are followed."""
        with self.fetched.of_job(run.models), self.files.of_job(run) as files:
            yield files

    def machine_folders(self) -> tuple[str, ...]:
        """Folders of this machine that callers must not see, also in the form that ComfyUI uses in module names."""
        paths = [str(path) for path in (self.source.path, self.source.base, self.volume) if path]
        return tuple(dict.fromkeys([*paths, *(path.replace(".", "_x_") for path in paths)]))

    def has_node_class(self, class_type: str) -> bool:
        """Whether a node class of this name is loaded."""
        return class_type in self.main.nodes.NODE_CLASS_MAPPINGS

    def waits_for_packs(self, workflow: Mapping[str, Any]) -> bool:
        """Whether a graph names a class of a node pack that is not imported yet."""
        mappings = self.main.nodes.NODE_CLASS_MAPPINGS
        return any(waits_for_pack(mappings, node["class_type"]) for node in workflow.values())

    def inputs_of(self, class_type: str) -> Mapping[str, Any]:
        """What ``INPUT_TYPES`` of a node class returns; empty if it is not loaded, or cannot say it."""
        try:
            inputs = self.main.nodes.NODE_CLASS_MAPPINGS[class_type].INPUT_TYPES()
        except Exception:  # noqa: BLE001 - this is code of a node pack, which may raise anything.
            return {}
        return inputs if isinstance(inputs, Mapping) else {}

    def about_class(self, class_type: str) -> Mapping[str, Any] | None:
        """What ComfyUI's ``/object_info`` tells about a node class; None if it is not loaded, or cannot say it."""
        self.late_packs.load_for(
            [class_type] if waits_for_pack(self.main.nodes.NODE_CLASS_MAPPINGS, class_type) else []
        )
        try:
            return self.files.classes.about(class_type)
        except Exception:  # noqa: BLE001 - this is code of a node pack, which may raise anything.
            return None

    def outputs_of(self, class_type: str) -> list[str] | None:
        """The type of each output of a node class; None if it is not loaded, or cannot say it."""
        try:
            kinds = self.main.nodes.NODE_CLASS_MAPPINGS[class_type].RETURN_TYPES
            return ["COMBO" if isinstance(kind, list | tuple) else str(kind) for kind in kinds]
        except Exception:  # noqa: BLE001 - this is code of a node pack, which may raise anything.
            return None

    def is_output(self, class_type: str) -> bool:
        """Whether a node class saves or shows something, so that ComfyUI runs its nodes and those that they need."""
        return self.files.classes.is_output(class_type)

    def why_missing(self, class_type: str) -> str | None:
        """Why a node class is not there although its pack is; None if no pack that failed seems to have it."""
        pack = failed_pack_of(class_type, self.node_packs)
        return f"the node pack {pack.name}, which has this class, could not be loaded: {pack.error}" if pack else None

    def listed_packs(self, class_type: str) -> str | None:
        """Which packs have a node class that is not there, if ComfyUI-Manager is installed and lists it."""
        return listed_packs(class_type, map(Path, self.main.folder_paths.get_folder_paths("custom_nodes")))

    def node_classes(self) -> list[str]:
        """Names of all node classes that are loaded."""
        return list(self.main.nodes.NODE_CLASS_MAPPINGS)

    def runs_as(self, class_type: str) -> str:
        """The class that ComfyUI runs for ``class_type``: the same, or the successor of a class that was removed."""
        if self.has_node_class(class_type):
            return class_type
        return versions.successor(self.main, class_type) or class_type

    def model_files(self, folder: str) -> list[str]:
        """Names of the model files in ``folder`` (``checkpoints``, ``loras``, …), as workflows name them."""
        return list(self.main.folder_paths.get_filename_list(folder))

    def model_folders(self) -> list[ModelFolder]:
        """Every model folder that ComfyUI knows, with its paths. Paths in the state folder are left out."""
        return model_folders(self.main.folder_paths, self.state.root)

    def model_path(self, folder: str, name: str) -> Path | None:
        """The path of the model file ``name`` in ``folder``; None if it is not there."""
        path = self.main.folder_paths.get_full_path(folder, name)
        return self.cached.source(Path(path)) if path else None

    def cached_models(self) -> Sequence[CachedFile]:
        """The models that the platform has cached for the endpoint; empty if they are not looked for."""
        return self.cached.files

    def model_names(self, path: str) -> list[str]:
        """The names by which workflows call the model file at ``path``, a full one; empty if it is no model's."""
        return [
            name
            for folder in self.model_folders()
            for name in names_below(path, map(str, folder.paths))
            # A file of this name that lies in an earlier folder is another one.
            if (found := self.model_path(folder.name, name)) is not None and _is_same(found, path)
        ]

    def loads_packs_from(self, folder: Path) -> bool:
        """Whether node packs are loaded from this folder."""
        return str(folder) in self.main.folder_paths.get_folder_paths("custom_nodes")

    def model_inputs(self, class_type: str) -> dict[str, tuple[str, frozenset[str]]]:
        """For each input of a class that takes a model file: its model folder, and the choices that are no files."""
        node_class = self.main.nodes.NODE_CLASS_MAPPINGS.get(class_type)
        return model_inputs(node_class, self.main.folder_paths) if node_class else {}

    def gpu_is_busy(self) -> bool:
        """Whether the CUDA device computes; False if that is not known."""
        torch, device = importlib.import_module("torch"), self.main.comfy.model_management.get_torch_device()
        if device.type != "cuda" or self.memory.broken is not None:
            return False
        try:
            return int(torch.cuda.utilization(device)) > 0
        except Exception:  # noqa: BLE001 - the driver raises errors of its own, if a container may not ask it.
            return False

    def vram(self) -> dict[str, int]:
        """Bytes of the CUDA device's memory: ``free`` and ``total``; empty without one, or if it does not tell."""
        if self.memory.peak() is None:
            return {}
        try:
            figures = self.memory.figures()
        except RuntimeError:  # After a fatal error of the device.
            return {}
        return {"free": figures.free, "total": figures.total}

    def versions(self) -> dict[str, str]:
        """Versions of ``comfyui`` and ``torch``, and the name of the ``device``."""
        torch = importlib.import_module("torch")
        return {"comfyui": self.source.version, "torch": torch.__version__, "device": self.memory.name}

    def device(self) -> dict[str, Any]:
        """``name`` and ``type``; ``free``, ``total``, ``ram_free``, ``ram_total`` in bytes; ``torch``: its version."""
        management = self.main.comfy.model_management
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


def _is_same(file: Path, path: str) -> bool:
    try:
        return os.path.samefile(file, path)  # noqa: PTH121 - a caller's path, which may be no name of a file.
    except (OSError, ValueError):
        return False
