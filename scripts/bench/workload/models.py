"""Makes the small models of the built-in cases, with random weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

CHECKPOINT = "checkpoints/tiny-sd.safetensors"
UPSCALER = "upscale_models/tiny-esrgan.safetensors"
LARGE = ("checkpoints/first.safetensors", "checkpoints/second.safetensors")
_FEATURES, _CONVOLUTIONS, _SCALE = 16, 4, 4
_PROGRAM = Path(__file__).resolve().parents[2] / "tiny_checkpoint.py"


def make_models(folder: Path, names: Iterable[str]) -> None:
    """Write the models ``names`` below ``folder``: ``CHECKPOINT``, ``UPSCALER`` or those of ``LARGE``, 2 GB each."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == UPSCALER:
            _write_upscaler(path)
        else:  # Use a process of its own, since the program loads ComfyUI's modules.
            size = ("--large", "--seed", str(LARGE.index(name))) if name in LARGE else ()
            subprocess.run([sys.executable, _PROGRAM, "--out", path, *size], check=True, capture_output=True)


def _write_upscaler(path: Path) -> None:
    """Write an upscaler of Real-ESRGAN's compact layout, with 11 thousand parameters. It enlarges four times."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}

    def convolution(index: int, inputs: int, outputs: int) -> None:
        kernel = rng.normal(scale=(2 / (inputs * 9)) ** 0.5, size=(outputs, inputs, 3, 3))
        weights[f"body.{index}.weight"] = kernel.astype(np.float32)
        weights[f"body.{index}.bias"] = np.zeros(outputs, np.float32)

    for layer in range(_CONVOLUTIONS + 1):
        convolution(2 * layer, _FEATURES if layer else 3, _FEATURES)
        weights[f"body.{2 * layer + 1}.weight"] = np.full(_FEATURES, 0.1, np.float32)
    convolution(2 * _CONVOLUTIONS + 2, _FEATURES, 3 * _SCALE**2)
    save_file(weights, path)
