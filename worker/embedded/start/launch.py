"""What ComfyUI is started with. A process starts it once, so further Workers must ask for the same."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.embedded.start.device import cpu_flag, cuda_device_count, torch_build
from worker.embedded.start.extra_paths import extra_paths_flags
from worker.embedded.start.flags import comfy_flags, operator_flags
from worker.embedded.start.source import ComfySource, find_source
from worker.engine.workspace import StateFolder
from worker.events import Notice
from worker.settings import Settings


@dataclass(frozen=True)
class Launch:
    """What one start of ComfyUI takes from the settings.

    Attributes:
        source: the tree.
        flags: ComfyUI's command line.
        further: those of them that are not about the worker's own folders.
        volume: the network volume, or None if it is not there.
        packs_on_volume: whether the volume's node packs are loaded as well.
        values: what each variable that the start depends on comes to, by the variable's name.
        notices: warnings for the operator.
    """

    source: ComfySource
    flags: tuple[str, ...]
    further: tuple[str, ...]
    volume: Path | None
    packs_on_volume: bool
    values: dict[str, str]
    notices: tuple[Notice, ...]

    def difference(self, asked: Launch) -> str | None:
        """Which variables have other values in ``asked``, in words; None if it asks for this same ComfyUI."""
        pairs = {name: (value, asked.values[name]) for name, value in self.values.items()}
        texts = [f"{name} is {one!r}, not {other!r}" for name, (one, other) in pairs.items() if one != other]
        return ", ".join(texts) or None


def plan_launch(settings: Settings, state: StateFolder) -> Launch:
    """What ``settings`` ask for. Only the folders that the base directory lacks are made.

    Raises:
        StartError: there is no tree or no device, or a file or folder cannot be used.
        SettingsError: ``COMFY_ARGS`` has a flag that only the worker may set.
    """
    source = find_source(settings.comfyui_path, settings.comfy_base_dir)
    on_pod = settings.runpod_pod_id is not None
    cpu, warning = cpu_flag(settings.comfy_args, torch_build(), cuda_device_count(), on_pod=on_pod)
    volume, extra_paths = _volume(settings), extra_paths_flags(source, settings.comfy_args)
    packs = volume is not None and settings.volume_custom_nodes
    given = _with_cpu_last(settings.comfy_args, cpu)
    further = operator_flags(settings, (*extra_paths, *given))
    flags = comfy_flags(settings, source, state, further)
    values = {
        "COMFYUI_PATH": str(source.path.resolve()),
        "COMFY_BASE_DIR": str(source.base.resolve()),
        "extra_model_paths.yaml": "".join(extra_paths[1:]),
        "COMFY_ARGS": shlex.join(given),
        "COMFY_LOG_LEVEL": settings.comfy_log_level,
        "OUTPUT_FOLDERS": ",".join(settings.output_folders),
        "DEFER_IMPORTS": settings.defer_imports,
        "LAZY_CUSTOM_NODES": str(settings.lazy_custom_nodes).lower(),
        "BYTECODE_CACHE": settings.bytecode_cache,
        "SAVE_METADATA": str(settings.save_metadata).lower(),
        "NETWORK_VOLUME_PATH": str(volume.resolve()) if volume else "",
        "CACHED_MODELS": settings.cached_models,
        "VOLUME_CUSTOM_NODES": str(packs).lower(),
    }
    notices = [Notice(text, is_warning=True) for text in (warning, *_volume_warnings(settings, volume)) if text]
    return Launch(source, flags, further, volume, packs, values, tuple(notices))


def _with_cpu_last(arguments: tuple[str, ...], cpu: str | None) -> tuple[str, ...]:
    """``arguments`` with ``--cpu`` once, whether the operator asks for it or ``cpu`` adds it."""
    others = tuple(argument for argument in arguments if argument != "--cpu")
    return (*others, "--cpu") if cpu or others != arguments else others


def _volume(settings: Settings) -> Path | None:
    volume = settings.network_volume_path
    with contextlib.suppress(OSError):  # A mount may not answer.
        if volume.is_dir():
            return volume
    return None


def _volume_warnings(settings: Settings, volume: Path | None) -> Iterator[str]:
    path = settings.network_volume_path
    if volume is not None:
        return
    if "network_volume_path" in settings.model_fields_set:
        yield f"NETWORK_VOLUME_PATH={str(path)!r} is no folder: nothing is read from it"
    elif settings.volume_custom_nodes:
        yield f"VOLUME_CUSTOM_NODES=true, but no network volume is mounted at {path}"
