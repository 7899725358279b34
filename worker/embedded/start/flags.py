"""Builds ComfyUI's command line, and sets the variables that its ``main`` derives from it when run as a program."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from worker.embedded import versions
from worker.embedded.start.source import ComfySource
from worker.engine.workspace import StateFolder
from worker.errors import SettingsError
from worker.settings import Settings

_OUR_FLAGS = ("--output-directory", "--input-directory", "--temp-directory", "--user-directory", "--base-directory")


def comfy_flags(
    settings: Settings, source: ComfySource, state: StateFolder, further: tuple[str, ...]
) -> tuple[str, ...]:
    """ComfyUI's flags. If a flag is repeated, the last one wins. So those that the operator may change stand first.

    Args:
        settings, source, state: they decide the other flags.
        further: the result of ``operator_flags``.
    """
    return (
        *("--database-url", f"sqlite:///{state.user / 'comfyui.db'}"),
        *further,
        *("--base-directory", str(source.base)),
        *("--output-directory", str(state.output)),
        *("--input-directory", str(state.input)),
        *("--user-directory", str(state.user)),
        *("--front-end-root", str(state.front_end)),
        *(() if settings.save_metadata else ("--disable-metadata",)),
    )


def operator_flags(settings: Settings, further: tuple[str, ...]) -> tuple[str, ...]:
    """``further``, flags of the operator, after how much ComfyUI logs.

    Raises:
        SettingsError: ``COMFY_ARGS`` has a flag that only the worker may set.
    """
    taken = [flag for flag in _OUR_FLAGS if any(given.split("=")[0] == flag for given in settings.comfy_args)]
    if taken:
        raise SettingsError(f"COMFY_ARGS: {taken[0]} is set by the worker; see COMFY_BASE_DIR and WORKER_STATE_DIR")
    has_own_level = any(given.split("=")[0] == "--verbose" for given in settings.comfy_args)
    # 0.38.1 takes the lowest of several levels.
    return further if has_own_level else ("--verbose", settings.comfy_log_level, *further)


@contextlib.contextmanager
def arguments(flags: tuple[str, ...]) -> Iterator[None]:
    """Within this context, ``sys.argv`` holds ``flags``, since ComfyUI and some packs read it."""
    with argument_list(["main.py", *flags]):
        yield


@contextlib.contextmanager
def argument_list(words: list[str]) -> Iterator[None]:
    """Within this context, ``sys.argv`` is this list."""
    given = sys.argv
    sys.argv = words
    try:
        yield
    finally:
        sys.argv = given


def parse_flags() -> Any:
    """Let ComfyUI parse its flags, and set the variables that torch reads when it is imported.

    Returns:
        What ComfyUI has read, its ``args``.

    Raises:
        SettingsError: ComfyUI does not know a flag.
    """
    args = parse_folder_flags()
    versions.leave_assets_out(args)
    for name, value in _device_environment(args).items():
        os.environ[name] = value
    # This import sets a variable that chooses torch's allocator.
    importlib.import_module("cuda_malloc")
    return args


def parse_folder_flags() -> Any:
    """Let ComfyUI parse its flags, of which some name folders. Nothing else of it is imported. Returns them.

    Raises:
        SettingsError: ComfyUI does not know a flag.
    """
    importlib.import_module("comfy.options").enable_args_parsing()
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module("comfy.cli_args").args
    except SystemExit:
        lines = complaint.getvalue().strip().splitlines() or ["ComfyUI does not take these flags"]
        raise SettingsError(f"COMFY_ARGS: {lines[-1].removeprefix('main.py: error: ')}") from None


def _device_environment(args: Any) -> dict[str, str]:
    """The variables that ComfyUI's ``main`` derives from its flags when it runs as a program."""
    environment = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    environment["TORCH_ROCM_AOTRITON_ENABLE_EXPERIMENTAL"] = "1"
    devices, first = args.cuda_device, versions.flag(args, "default_device")
    if devices is not None and devices != "all":  # "all" leaves alone what is visible. 0.33.0 would hide every device.
        environment["ASCEND_RT_VISIBLE_DEVICES"] = str(devices)
    if devices is None and first is not None:
        devices = ",".join(str(index) for index in [first, *(i for i in range(32) if i != first)])
    if devices is not None and devices != "all":
        environment["CUDA_VISIBLE_DEVICES"] = environment["HIP_VISIBLE_DEVICES"] = str(devices)
    oneapi_selector = versions.flag(args, "oneapi_device_selector")
    if oneapi_selector is not None:
        environment["ONEAPI_DEVICE_SELECTOR"] = oneapi_selector
    if versions.flag(args, "deterministic") and "CUBLAS_WORKSPACE_CONFIG" not in os.environ:
        environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    return environment
