"""Tells which node classes handle data only, and tells the job's memory which node runs."""

from __future__ import annotations

import importlib
import weakref
from pathlib import Path
from typing import Any

from worker.embedded.cache.node_cache import NodeCache
from worker.embedded.deferred.nodes.mapping import loaded_classes
from worker.embedded.memory.job_memory import JobMemory
from worker.embedded.memory.process import ProcessMemory
from worker.embedded.node_classes import is_core
from worker.errors import JobTooLarge

_GRAIN = 32_768  # Elements for which torch starts one more thread.

_DATA = frozenset({
    "*", "ANY", "AUDIO", "BOOLEAN", "BOUNDING_BOX", "CLIP_VISION_OUTPUT", "COLOR", "COMBO", "CONDITIONING", "CURVE",
    "FLOAT", "FLOATS", "HISTOGRAM", "IMAGE", "INT", "LATENT", "LATENT_OPERATION", "LOAD_3D", "LOAD3D_CAMERA", "MASK",
    "MESH", "NOISE", "NUMBER", "POINT", "RANGE", "SAMPLER", "SIGMAS", "STRING", "SVG", "TIMESTEPS_RANGE", "TRACKS",
    "VIDEO", "VOXEL", "WEBCAM", "ARRAY", "AUDIO_ENCODER_OUTPUT", "BBOX", "BOUNDING_BOXES", "COLORS", "DICT", "LAYERS",
    "POSE_KEYPOINT", "SPLAT", "WAN_CAMERA_EMBEDDING",
})  # fmt: skip


def is_plain(node_class: Any) -> bool:
    """Whether it is a class of ComfyUI's own all of whose inputs and outputs are data, so that it loads no model."""
    if not is_core(node_class):
        return False
    inputs = node_class.INPUT_TYPES()
    kinds = [
        config[0]
        for group in ("required", "optional")
        for config in (inputs.get(group) or {}).values()
        if isinstance(config, list | tuple) and config
    ]
    return all(map(_is_data, [*kinds, *node_class.RETURN_TYPES]))


def _is_data(kind: Any) -> bool:
    if not isinstance(kind, str):
        return True  # A list of choices.
    # Types of the newer interface stand for several others: COMFY_MATCHTYPE_V3, COMFY_AUTOGROW_V3.
    return all(part in _DATA or part.startswith(("COMFY_", "FILE_3D")) for part in kind.split(","))


def make_job_memory(main: Any, server: Any, cache: NodeCache, state: Path) -> JobMemory:
    """The memory of jobs that run in ComfyUI, which hears of each node from now on.

    Args:
        main: ComfyUI's module.
        server: its ``PromptServer``.
        cache: its cache of results.
        state: the worker's folder.
    """
    torch: Any = importlib.import_module("torch")

    def describe(node_id: str, node_class: Any) -> str:
        classes = loaded_classes(main.nodes.NODE_CLASS_MAPPINGS)
        name = next((name for name, known in classes if known is node_class), "unknown")
        return f"Node {node_id} ({name})"

    def start_threads() -> None:
        torch.ones(torch.get_num_threads() * _GRAIN).add_(1)

    memory = JobMemory(ProcessMemory(state), describe, start_threads, cache.forget)
    _watch_nodes(main, server, memory)
    return memory


def _watch_nodes(main: Any, server: Any, memory: JobMemory) -> None:
    """Tell ``memory`` of each node that begins and ends.

    Args:
        main: ComfyUI's module.
        server: its ``PromptServer``, which knows by which id a caller knows the node.
        memory: it may raise an error in place of the node's.
    """
    get_output_data = main.execution.get_output_data
    plain: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()

    async def watched(prompt_id: Any, unique_id: Any, node: Any, *args: Any, **kwargs: Any) -> Any:
        node_class = type(node)
        if node_class not in plain:
            plain[node_class] = is_plain(node_class)
        memory.enter(unique_id, str(server.last_node_id), node_class, is_plain=plain[node_class])
        try:
            result = await get_output_data(prompt_id, unique_id, node, *args, **kwargs)
        except Exception as error:
            memory.explain(error)
            raise
        try:
            memory.leave()
        except JobTooLarge:
            del result  # The traceback would keep it.
            raise
        return result

    main.execution.get_output_data = watched
