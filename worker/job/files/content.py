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

from PIL import Image, ImageFile, TiffImagePlugin

from worker.job.files.formats import find_container, open_picture, picture_media_type

_COMPARED_FRAMES = 200
_NEW_SUBFILE_TYPE, _DNG_VERSION = 0xFE, 0xC612  # Tags of TIFF.
_MAX_FRAMES = 10_000  # A GIF of 20 MB can have a million frames, and loaders decode all of them.
# A line that begins with #EXT is not accepted as a comment: FFmpeg reads a file with such lines as a playlist, and
# opens the files that it names.
# In linear time: whitespace is never gone back over, since a file may be 100 MB of it.
_OBJ_LINE = re.compile(rb"\s*+(?:#(?!EXT)[^\n]*|(?:v[ntp]?|f|l|p|o|g|s|mtllib|usemtl)(?:[ \t][^\n]*)?)?\s*")
_OBJ_VERTEX = re.compile(rb"^[ \t\r]*+v(?:[ \t]+-?[\d.eE+-]+){3}", re.MULTILINE)


@dataclass(frozen=True)
class Content:
    """A file's media type. ``pixels``: width × height × frames of an image, 0 for other files.

    ``remark``: what ComfyUI's loaders do not take of an image, for its caller.
    """

    media_type: str
    pixels: int = 0
    remark: str = ""


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
    container = find_container(data)
    media_type = container.media_type if container else _latent_or_model(data)
    return Content(media_type) if media_type else None


def _identify_image(data: bytes, max_pixels: int) -> Content | None:
    try:
        with open_picture(io.BytesIO(data)) as image:
            pixels, frames = image.width * image.height, 1
            if pixels <= max_pixels:
                frames = getattr(image, "n_frames", 1)
                pixels *= frames
            media_type, remark = picture_media_type(image), _remark(image, frames)
    except Image.DecompressionBombError:
        raise TooManyPixels(f"it has more pixels than the limit of {max_pixels}") from None
    except Exception:  # noqa: BLE001 - Pillow's plugins raise any kind of exception for a damaged file.
        return None
    if pixels > max_pixels:
        raise TooManyPixels(f"it has {pixels} pixels, the limit is {max_pixels}")
    if frames > _MAX_FRAMES:
        raise TooManyPixels(f"it has {frames} frames, the limit is {_MAX_FRAMES}")
    return Content(media_type, pixels, remark)


def _remark(image: ImageFile.ImageFile, frames: int) -> str:
    if image.mode in ("F", "I"):
        return "it has values of 32 bits, which ComfyUI's LoadImage does not scale: it may arrive black or white"
    if image.format == "PSD" and frames > 1:
        return "it has layers, which ComfyUI 0.3.75 takes for further pictures after the whole one"
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_preview(image):
        return "it is a camera's raw file, or begins with a preview, and ComfyUI's LoadImage takes no more than that"
    if 1 < frames <= _COMPARED_FRAMES and image.format == "TIFF":
        sizes = {image.size}
        for frame in range(1, frames):
            image.seek(frame)
            sizes.add(image.size)
        if len(sizes) > 1:
            return "its pages have several sizes, and ComfyUI's LoadImage leaves out those that differ from the first"
    return ""


def _is_preview(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether the first page of a TIFF is a smaller version of another one. DNG, NEF and ARW are such TIFFs."""
    return _DNG_VERSION in image.tag_v2 or bool(image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & 1)


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
