"""Decodes HEIC and HEIF, the photographs of iPhones, which ComfyUI reads wrongly or not at all."""

from __future__ import annotations

import importlib
import io
from typing import Any, NamedTuple

from PIL import Image, ImageCms

from worker.job.files.content import TooManyPixels

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class Decoded(NamedTuple):
    """``png``: the main picture, upright and in sRGB. ``pictures``: how many the file has."""

    png: bytes
    pictures: int


def is_heif(data: bytes) -> bool:
    """Whether ``data`` begins as a HEIF file that is no AVIF, which Pillow reads."""
    length = int.from_bytes(data[:4], "big")
    return data[4:8] == b"ftyp" and data[8:12] in _BRANDS and b"avif" not in data[8 : min(length, 256)]


def decode_heif(data: bytes, max_pixels: int) -> Decoded:
    """Decode the main picture of a HEIF file.

    Args:
        data: the whole file.
        max_pixels: the most pixels that it may have.

    Raises:
        TooManyPixels: it has more. It was not decoded.
        ValueError: the file is damaged.
    """
    heif: Any = importlib.import_module("pillow_heif")  # Most jobs have no HEIF file.
    try:
        file = heif.open_heif(data, convert_hdr_to_8bit=True)
        main = file[file.primary_index]
        pixels = main.size[0] * main.size[1]
        picture = _in_srgb(main.to_pillow()) if pixels <= max_pixels else None
    except Exception as error:  # libheif's binding raises any kind of exception for a damaged file.
        raise ValueError("it is a damaged HEIC picture") from error
    if picture is None:
        raise TooManyPixels(f"it has {pixels} pixels, the limit is {max_pixels}")
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", compress_level=1)
    return Decoded(encoded.getvalue(), len(file))


def _in_srgb(picture: Image.Image) -> Image.Image:
    """``picture`` with the colours that its profile means, and without profile and Exif."""
    profile = picture.info.get("icc_profile")
    picture.info.clear()  # The decoder has turned it already.
    if not profile or picture.mode not in ("RGB", "RGBA"):
        return picture
    try:
        meant = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, meant, ImageCms.createProfile("sRGB"), outputMode=picture.mode)
    except (ImageCms.PyCMSError, OSError, ValueError):  # A broken profile says nothing about the colours.
        return picture
    converted = converted or picture
    converted.info.clear()
    return converted
