"""Lets ComfyUI's own previewer show the latent while a job runs: ``PROGRESS_PREVIEWS``."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def previews(every_s: float) -> Iterator[None]:
    """While this is open, samplers make previews, one each ``every_s`` seconds at most; 0 leaves ComfyUI as it is.

    The method is the one of ``--preview-method``, if the operator has chosen one. Otherwise it is TAESD for models
    whose decoder is in ``models/vae_approx``, and a linear one (latent2rgb) for the others.
    """
    if not every_s:
        yield
        return
    module: Any = importlib.import_module("latent_preview")
    original = module.get_previewer

    def get_previewer(device: Any, latent_format: Any, *further: Any, **named: Any) -> Any:
        with _method(module, latent_format):
            previewer = original(device, latent_format, *further, **named)
        # Those of node packs may need every step, for a film of it.
        if previewer is not None and type(previewer).__module__ == module.__name__:
            previewer.decode_latent_to_preview_image = _seldom(previewer.decode_latent_to_preview_image, every_s)
        return previewer

    module.get_previewer = get_previewer
    try:
        yield
    finally:
        if module.get_previewer is get_previewer:  # Otherwise a node pack has put its own there meanwhile.
            module.get_previewer = original


@contextlib.contextmanager
def _method(module: Any, latent_format: Any) -> Iterator[None]:
    """While this is open, ComfyUI finds a method of previews, unless the operator has chosen one."""
    args, methods = module.args, module.LatentPreviewMethod
    given = args.preview_method
    if given == methods.NoPreviews:
        args.preview_method = methods.TAESD if _has_decoder(module, latent_format) else methods.Latent2RGB
    try:
        yield
    finally:
        args.preview_method = given


def _has_decoder(module: Any, latent_format: Any) -> bool:
    name = getattr(latent_format, "taesd_decoder_name", None)
    return bool(name) and any(file.startswith(name) for file in module.folder_paths.get_filename_list("vae_approx"))


def _seldom(decode: Callable[..., Any], every_s: float) -> Callable[..., Any]:
    """``decode``, which returns None where the last preview is younger than ``every_s`` seconds."""
    last = float("-inf")

    def decode_seldom(*arguments: Any) -> Any:
        nonlocal last
        now = time.monotonic()
        if now - last < every_s:
            return None
        last = now
        return decode(*arguments)

    return decode_seldom
