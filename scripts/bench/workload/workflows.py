"""Builds the workflows that the benchmark runs, and the photograph that they load."""

from __future__ import annotations

import base64
import functools
import io
from typing import Any

import numpy as np
from graphs import Graph, node
from PIL import Image

PHOTO = "photo.jpg"


@functools.cache
def photograph() -> bytes:
    """A JPEG of 1024² pixels with the spectrum of a photograph."""
    rng = np.random.default_rng(1)
    frequency = np.fft.fftfreq(1024)[:, None] ** 2 + np.fft.fftfreq(1024)[None] ** 2
    frequency[0, 0] = 1
    shared, planes = rng.normal(size=(1024, 1024)), []
    for _ in range(3):
        spectrum = np.fft.fft2(shared * 0.8 + rng.normal(size=(1024, 1024)) * 0.2) / frequency**0.55
        plane = np.fft.ifft2(spectrum).real
        planes.append((plane - plane.min()) / (plane.max() - plane.min()))
    buffer = io.BytesIO()
    Image.fromarray((np.stack(planes, -1) * 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def input_photo(number: int) -> dict[str, str]:
    """The photograph as an input image. Each ``number`` gives a file of the same pixels with another comment."""
    start, rest = photograph()[:2], photograph()[2:]
    comment = b"\xff\xfe" + (10).to_bytes(2, "big") + number.to_bytes(8, "big")
    return {"name": PHOTO, "image": base64.b64encode(start + comment + rest).decode("ascii")}


def blend(count: int, factor: float) -> Graph:
    """LoadImage → RepeatImageBatch → ImageBlend with itself → SaveImage."""
    return {
        "1": node("LoadImage", image=PHOTO),
        "2": node("RepeatImageBatch", image=["1", 0], amount=count),
        "4": node("ImageBlend", image1=["2", 0], image2=["2", 0], blend_factor=factor, blend_mode="normal"),
        "5": node("SaveImage", images=["4", 0], filename_prefix="photo"),
    }


def upscale(model: str) -> dict[str, Any]:
    """LoadImage → ImageScale to 256² → ImageUpscaleWithModel → SaveImage."""
    return {
        "1": node("LoadImage", image=PHOTO),
        "2": node("ImageScale", image=["1", 0], upscale_method="area", width=256, height=256, crop="disabled"),
        "3": node("UpscaleModelLoader", model_name=model),
        "4": node("ImageUpscaleWithModel", upscale_model=["3", 0], image=["2", 0]),
        "5": node("SaveImage", images=["4", 0], filename_prefix="upscaled"),
    }
