"""The requests whose answers must always be the same files and texts, by name."""

from __future__ import annotations

import base64
import io
import random
from typing import Any

import graphs
import pictures
from PIL import Image

Request = dict[str, Any]


def catalogue() -> dict[str, dict[str, Request]]:
    """All requests: by kind, then by name."""
    return {"pictures": _pictures(), "inputs": _inputs(), "sampler": _sampler(), "other outputs": _others()}


def _pictures() -> dict[str, Request]:
    """Pictures of ComfyUI's image nodes, in several sizes. Node ids, prefixes and file names are the same in all."""
    found = {f"solid {size}": graphs.solid(0x102030 + size, size, size) for size in (64, 200, 512, 1024)}
    found["batch"] = graphs.solid(0x778899, 96, 64, batch=4)
    found["blend"] = _blended(0xCC4411, 0x1144CC, "multiply")
    found["blend, screen"] = _blended(0xCC4411, 0x44CC11, "screen")
    found["scaled"] = _through("ImageScale", upscale_method="lanczos", width=320, height=200, crop="center")
    found["scaled by"] = _through("ImageScaleBy", upscale_method="bicubic", scale_by=0.5)
    found["blurred"] = _through("ImageBlur", blur_radius=8, sigma=3.0)
    found["inverted"] = _through("ImageInvert")
    found["expanded"] = graphs.through("TestExpands", color=0x818283)
    found["two savers"] = graphs.solid(0x31, 64, 64) | {
        "7": graphs.node("SaveImage", images=["1", 0], filename_prefix="folder/second")
    }
    requests: dict[str, Request] = {name: {"workflow": graph} for name, graph in found.items()}
    requests["as webp"] = {**requests["blurred"], "output_format": "webp", "output_quality": 70}
    requests["as jpeg"] = {**requests["scaled"], "output_format": "jpeg"}
    return requests


def _noise(size: int) -> graphs.Graph:
    """Node 1 makes noise, and node 2 saves the image of node 3, which the caller adds."""
    return {
        "1": graphs.node("TestMakesNoise", width=size, height=size),
        "2": graphs.node("SaveImage", images=["3", 0], filename_prefix="ComfyUI"),
    }


def _through(class_type: str, **inputs: Any) -> graphs.Graph:
    """Noise → a node of ComfyUI → SaveImage."""
    return _noise(256) | {"3": graphs.node(class_type, image=["1", 0], **inputs)}


def _blended(one: int, other: int, mode: str) -> graphs.Graph:
    return {
        "1": graphs.node("EmptyImage", width=256, height=256, batch_size=1, color=one),
        "4": graphs.node("EmptyImage", width=128, height=128, batch_size=1, color=other),
        "3": graphs.node("ImageBlend", image1=["1", 0], image2=["4", 0], blend_factor=0.4, blend_mode=mode),
        "2": graphs.node("SaveImage", images=["3", 0], filename_prefix="ComfyUI"),
    }


def _inputs() -> dict[str, Request]:
    """Input files of several sizes, all under one name, since a job must not get the file of another job."""
    inverted = graphs.load("in.png") | {"3": graphs.node("ImageInvert", image=["1", 0])}
    inverted["2"]["inputs"]["images"] = ["3", 0]
    requests = {}
    for width, height in ((16, 16), (100, 60), (320, 240), (640, 480)):
        content = _noisy_png(width, height)
        requests[f"load {width}x{height}"] = _with_image(graphs.load("in.png"), content)
        requests[f"invert {width}x{height}"] = _with_image(inverted, content)
    flat = pictures.png("#40a0f0", (1500, 1000))
    requests["load 1500x1000"] = _with_image(graphs.load("in.png"), flat)
    return requests


def _with_image(graph: graphs.Graph, content: bytes) -> Request:
    return {"workflow": graph, "images": [{"name": "in.png", "image": base64.b64encode(content).decode()}]}


def _noisy_png(width: int, height: int) -> bytes:
    pixels = random.Random(width).randbytes(width * height * 3)  # noqa: S311 - pixels.
    buffer = io.BytesIO()
    Image.frombytes("RGB", (width, height), pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _sampler() -> dict[str, Request]:
    return {
        f"sampler {seed}, {size}": {"workflow": graphs.text_to_image(seed=seed, size=size)}
        for seed, size in ((1, 64), (2, 64), (3, 96))
    }


def _others() -> dict[str, Request]:
    """Animations, a text, a latent, a file of another kind, and a preview, which is not delivered."""
    frames = graphs.node("EmptyImage", width=120, height=80, batch_size=5, color=0x224466)
    animated = {"filename_prefix": "clip", "fps": 8.0}
    found = {
        "animated webp": {
            "1": frames,
            "2": graphs.node("SaveAnimatedWEBP", images=["1", 0], lossless=True, quality=80, method="fastest",
                             **animated),
        },
        "animated png": {
            "1": frames,
            "2": graphs.node("SaveAnimatedPNG", images=["1", 0], compress_level=1, **animated),
        },
        "latent": {
            "1": graphs.node("EmptyLatentImage", width=256, height=256, batch_size=1),
            "2": graphs.node("SaveLatent", samples=["1", 0], filename_prefix="latents/soak"),
        },
        "text": {"1": graphs.node("TestShowsText", text="a text")},
        "file and picture": graphs.solid(0x818283) | {
            "5": graphs.node("TestSavesFile", key="gifs", subfolder="a/b", filename="clip.mp4", content="movie")
        },
        "preview only": {
            "1": graphs.node("EmptyImage", width=64, height=64, batch_size=1, color=5),
            "2": graphs.node("PreviewImage", images=["1", 0]),
        },
    }  # fmt: skip
    return {name: {"workflow": graph} for name, graph in found.items()}
