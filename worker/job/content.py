"""Finds out what a file is, from its bytes alone.

It knows only the formats that ComfyUI's loaders read. A library that detects any format does not fit: such libraries
guess from weak evidence (a ZIP is a Word document, a Python file is an image), and know neither latents nor 3D models.
"""

from __future__ import annotations

import io
import json
import re
import struct
from dataclasses import dataclass

from PIL import Image

_CONTAINERS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"FLV\x01", "video/x-flv"),
    (0, b"\x00\x00\x01\xba", "video/mpeg"),
    (0, b"\x00\x00\x01\xb3", "video/mpeg"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "video/x-ms-asf"),
    (0, b"FORM", "audio/aiff"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"glTF", "model/gltf-binary"),
    (0, b"Kaydara FBX Binary", "model/fbx"),
    (0, b"ply\n", "model/ply"),
    (0, b"ply\r\n", "model/ply"),
    (0, b"NGSP", "model/spz"),
)
_MAX_FRAMES = 10_000  # A GIF of 20 MB can have a million frames, and loaders decode all of them.
_RUNS_A_PROGRAM = frozenset({"EPS"})  # Pillow starts Ghostscript to read this format.
# Kept before a node pack can replace it. One pack's replacement installs packages when it finds an unknown image.
_open_image = Image.open
_RIFF = {b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
# A line that begins with #EXT is not accepted as a comment: FFmpeg reads a file with such lines as a playlist, and
# opens the files that it names.
_OBJ_LINE = re.compile(rb"\s*(?:#(?!EXT)[^\n]*|(?:v[ntp]?|f|l|p|o|g|s|mtllib|usemtl)(?:[ \t][^\n]*)?)?\s*")
_OBJ_VERTEX = re.compile(rb"^\s*v(?:[ \t]+-?[\d.eE+-]+){3}", re.MULTILINE)


@dataclass(frozen=True)
class Content:
    """A file's media type. ``pixels``: width × height × frames of an image, 0 for other files."""

    media_type: str
    pixels: int = 0


class TooManyPixels(ValueError):
    """An image has more pixels or frames than allowed. Raised before the image is decoded."""


def identify(data: bytes, max_pixels: int) -> Content | None:
    """Find out what ``data`` is: an image, video, audio, latent or 3D model. None if it is none of these.

    Args:
        data: the whole file.
        max_pixels: most pixels an image may have, all frames together.

    Raises:
        TooManyPixels: the image has more pixels, or too many frames.
    """
    image = _identify_image(data, max_pixels)
    if image is not None:
        return image
    media_type = _media_type(data)
    return Content(media_type) if media_type else None


def _identify_image(data: bytes, max_pixels: int) -> Content | None:
    try:
        with _open_image(io.BytesIO(data)) as image:
            if image.format in _RUNS_A_PROGRAM:
                return None
            pixels, frames = image.width * image.height, 1
            if pixels <= max_pixels:
                frames = getattr(image, "n_frames", 1)
                pixels *= frames
            media_type = image.get_format_mimetype() or f"image/{(image.format or '').lower()}"
    except Image.DecompressionBombError:
        raise TooManyPixels(f"it has more pixels than the limit of {max_pixels}") from None
    except Exception:  # noqa: BLE001 - Pillow's plugins raise any kind of exception for a damaged file.
        return None
    if pixels > max_pixels:
        raise TooManyPixels(f"it has {pixels} pixels, the limit is {max_pixels}")
    if frames > _MAX_FRAMES:
        raise TooManyPixels(f"it has {frames} frames, the limit is {_MAX_FRAMES}")
    return Content(media_type, pixels)


def _media_type(data: bytes) -> str | None:
    for offset, signature, media_type in _CONTAINERS:
        if data.startswith(signature, offset):
            return media_type
    if data.startswith(b"RIFF"):
        return _RIFF.get(data[8:12])
    if len(data) > 4 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06 and data[2] >> 4 != 0xF:
        return "audio/mpeg"
    if data[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return "audio/aac"
    if len(data) > 188 and data[0] == 0x47 and data[188] == 0x47:
        return "video/mp2t"
    return _latent_or_model(data)


def _latent_or_model(data: bytes) -> str | None:
    if _is_latent(data):
        return "application/x-latent"
    if _is_gltf(data):
        return "model/gltf+json"
    if re.match(rb"\s*solid[ \t][^\n]*\n\s*facet normal", data):
        return "model/stl"
    # A binary STL is an 80-byte header, a count, and 50 bytes a triangle.
    if len(data) >= 134 and len(data) == 84 + 50 * struct.unpack_from("<I", data, 80)[0]:
        return "model/stl"
    return "model/obj" if _is_obj(data) else None


def _is_obj(data: bytes) -> bool:
    """Whether every line is a line of the OBJ format, and one near the beginning is a vertex."""
    if not _OBJ_VERTEX.search(data, 0, 65536):
        return False
    return all(_OBJ_LINE.fullmatch(line) for line in data.split(b"\n"))


def _is_latent(data: bytes) -> bool:
    """Whether ``data`` is a safetensors file with the tensor that SaveLatent writes."""
    if len(data) < 16:
        return False
    length = struct.unpack_from("<Q", data)[0]
    if length > min(len(data) - 8, 1_000_000):
        return False
    header = _json_object(data[8 : 8 + length])
    return header is not None and "latent_tensor" in header


def _is_gltf(data: bytes) -> bool:
    if b'"asset"' not in data or len(data) > 50_000_000:
        return False
    document = _json_object(data)
    asset = document.get("asset") if document else None
    return isinstance(asset, dict) and "version" in asset


def _json_object(data: bytes) -> dict[str, object] | None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
