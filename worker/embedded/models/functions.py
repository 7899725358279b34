"""Surrounds the functions by which ComfyUI and node packs load models."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

_TAKERS = ("comfy.clip_vision", "comfy.bg_removal_model")  # They took the function by its name when they were imported.
Around = Callable[[Any], AbstractContextManager[object]]
"""What is entered for a call. It is made of the call's first argument."""


def surround_loading(main: Any, reading: Around, loading: Around) -> None:
    """Enter ``reading`` while a model file is read, and ``loading`` while models are brought to the device.

    Call it before packs are imported. A second call surrounds what the first one has surrounded.

    Args:
        main: ComfyUI's ``main`` module.
        reading: is given what names the file, mostly a path.
        loading: is given the models.
    """
    utils, management = main.comfy.utils, main.comfy.model_management
    read = utils.load_torch_file
    utils.load_torch_file = surrounded = _surrounded(read, reading)
    for module in map(sys.modules.get, _TAKERS):
        if module is not None and vars(module).get("load_torch_file") is read:
            module.load_torch_file = surrounded  # type: ignore[attr-defined]
    management.load_models_gpu = _surrounded(management.load_models_gpu, loading)


def _surrounded(function: Any, around: Around) -> Any:
    @functools.wraps(function)
    def call(first: Any, *further: Any, **named: Any) -> Any:
        with around(first):
            return function(first, *further, **named)

    return call
