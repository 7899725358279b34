"""The kinds of files that nodes save: a file's ending → its media type, and the key of the answer that it stands under.

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
# The key in a node's ui dict → the key of the answer. The known worker delivers what lies under ``images``, videos and
# animated pictures included; files under any other key are ``files``.
ANSWER_KEYS: dict[str, AnswerKey] = {"images": "images"}


def answer_key(ui_key: str) -> AnswerKey:
    """The key of the answer for a file that a node named under ``ui_key``."""
    return ANSWER_KEYS.get(ui_key, "files")


def media_type(filename: str) -> str:
    """The media type that ``filename`` stands for; ``application/octet-stream`` if it is unknown."""
    return _media_type(os.path.splitext(filename)[1].lower())  # noqa: PTH122 - done for every file of every job.


@functools.lru_cache(maxsize=256)
def _media_type(ending: str) -> str:
    return MEDIA_TYPES.get(ending) or mimetypes.guess_type(f"x{ending}")[0] or "application/octet-stream"
