"""Reads an answer's contents in a form that can be compared: digests of pixels, digests of bytes, and texts."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image, ImageSequence

# (kind, node id, filename, digest). The digest is of a picture's pixels or another file's bytes. A text stays as it is.
Content = tuple[str, str, str, str]


def contents(answer: Mapping[str, Any], fetch: Callable[[str], bytes]) -> list[Content]:
    """The contents of ``answer``, in its order. ``fetch`` returns the bytes of a file in a bucket, by its URL."""
    found: list[Content] = []
    for key in ("images", "files"):
        for entry in answer.get(key, ()):
            data = fetch(entry["data"]) if entry["type"] == "s3_url" else base64.b64decode(entry["data"])
            is_picture = entry["media_type"].startswith("image/")
            digest = pixels(data) if is_picture else hashlib.sha256(data).hexdigest()
            found.append((key, entry["node_id"], entry["filename"], digest))
    found += [("text", text["node_id"], "", text["text"]) for text in answer.get("text", ())]
    return found


def pixels(data: bytes) -> str:
    """Size, mode and a digest of the pixels of every frame."""
    digest = hashlib.sha256()
    with Image.open(io.BytesIO(data)) as picture:
        count = 0
        for frame in ImageSequence.Iterator(picture):
            digest.update(frame.tobytes())
            count += 1
        return f"{picture.width}x{picture.height} {picture.mode} {count} {digest.hexdigest()}"


def solid_pixels(color: int, width: int, height: int) -> str:
    """The result of ``pixels`` for a picture of one colour."""
    row = color.to_bytes(3, "big") * (width * height)
    return f"{width}x{height} RGB 1 {hashlib.sha256(row).hexdigest()}"
