"""Small videos, sounds, latents and 3D models as files."""

from __future__ import annotations

import io
import struct
import wave
from typing import Any

import av
import numpy as np
import torch
from safetensors.torch import save


def video(shade: int, container: str = "mp4", codec: str = "h264", **options: str) -> bytes:
    """Four frames of one shade of grey. ``options``: those of the container."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, container_options=options) as file:
        stream: Any = file.add_stream(codec, rate=8)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(4):
            frame = np.full((64, 64, 3), shade, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return buffer.getvalue()


def sound(level: int) -> bytes:
    """A WAV of one level."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(struct.pack("<h", level) * 800)
    return buffer.getvalue()


def latent(value: float) -> bytes:
    """A latent of one value, as SaveLatent writes it."""
    return save({"latent_tensor": torch.full((1, 4, 8, 8), value), "latent_format_version_0": torch.zeros(0)})


def model(height: int) -> bytes:
    """An OBJ of one triangle."""
    return b"v 0 0 0\nv 0 1 0\nv 0 0 %d\nf 1 2 3\n" % height
