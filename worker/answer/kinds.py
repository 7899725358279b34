"""Knows the kinds of files that nodes save: the media type of an ending, and the answer's key for a file.

A new kind of file is added here, in ``MEDIA_TYPES``.
"""

from __future__ import annotations

import functools
import mimetypes
import os
from typing import Literal

AnswerKey = Literal["images", "files"]

# Python's own table lacks these.
MEDIA_TYPES = {
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".exr": "image/x-exr",
    ".mkv": "video/x-matroska",
    ".flac": "audio/flac",
    ".opus": "audio/ogg",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".obj": "model/obj",
    ".stl": "model/stl",
    ".latent": "application/x-latent",
    ".safetensors": "application/x-safetensors",
}
# The answer's key, by the key in a node's ui dict. Files that nodes name under ``images`` have this key in the answer,
# too, even videos, as in the answers of worker-comfyui. Files under any other key go under ``files``.
ANSWER_KEYS: dict[str, AnswerKey] = {"images": "images"}


def answer_key(ui_key: str) -> AnswerKey:
    """The key of the answer for a file that a node named under ``ui_key``."""
    return ANSWER_KEYS.get(ui_key, "files")


def media_type(filename: str) -> str:
    """The media type of ``filename``, by its ending; ``application/octet-stream`` if the ending is unknown."""
    return _media_type(os.path.splitext(filename)[1].lower())  # noqa: PTH122 - done for every file of every job.


@functools.lru_cache(maxsize=256)
def _media_type(ending: str) -> str:
    return MEDIA_TYPES.get(ending) or mimetypes.guess_type(f"x{ending}")[0] or "application/octet-stream"
