"""Decodes HEIC and HEIF, the photographs of iPhones, which ComfyUI reads wrongly or not at all."""

from __future__ import annotations

import importlib
import io
from typing import Any, NamedTuple

from PIL import Image, ImageCms

from worker.job.files.content import TooManyPixels

# Of these, one comes first, or stands among those that the file is compatible with: cameras put their own first.
_BRANDS = frozenset((
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"mif3", b"msf1",
))  # fmt: skip
_FILMS = frozenset((b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"qt  ", b"M4V "))  # These may have a cover picture.
_WIDE, _HDR = (9, 11, 12), (16, 18)  # Codes of H.273: primaries of BT.2020 and P3; the curves PQ and HLG.


class Decoded(NamedTuple):
    """``png``: the main picture, upright and in sRGB. ``remark``: what of the file is not in it, for its caller."""

    png: bytes
    remark: str


def is_heif(data: bytes) -> bool:
    """Whether ``data`` begins as a HEIF file that is no AVIF, which Pillow reads."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), 256)
    main, *others = (data[at : at + 4] for at in (8, *range(16, end, 4)))
    if not {b"avif", b"avis"}.isdisjoint((main, *others)):
        return False
    return main in _BRANDS or (main not in _FILMS and not _BRANDS.isdisjoint(others))


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
        decoded = _decode(main, len(file)) if pixels <= max_pixels else None
    except Exception as error:  # libheif's binding raises any kind of exception for a damaged file.
        raise ValueError("it is a damaged HEIC picture") from error
    if decoded is None:
        raise TooManyPixels(f"it has {pixels} pixels, the limit is {max_pixels}")
    return decoded


def _decode(main: Any, pictures: int) -> Decoded:
    picture = main.to_pillow()
    remark = _remark(picture, pictures)
    encoded = io.BytesIO()
    _in_srgb(picture).save(encoded, "PNG", compress_level=1)
    return Decoded(encoded.getvalue(), remark)


def _remark(picture: Image.Image, pictures: int) -> str:
    remarks = []
    if pictures > 1:
        remarks.append(f"of its {pictures} pictures, the main one is used")
    described = picture.info.get("nclx_profile") or {}
    if described.get("transfer_characteristics") in _HDR:
        remarks.append("its brightness is HDR, and is not converted: it may arrive flat")
    elif described.get("color_primaries") in _WIDE and not picture.info.get("icc_profile"):
        remarks.append("it has colours of a wide gamut and no colour profile: they may arrive paler")
    return "; ".join(remarks)


def _in_srgb(picture: Image.Image) -> Image.Image:
    """``picture`` with the colours that its profile means, and without profile and Exif."""
    profile = picture.info.get("icc_profile")
    picture.info.clear()  # The decoder has turned it already.
    if picture.mode == "RGBa":  # Colours that are multiplied with their transparency, which PNG does not have.
        picture = picture.convert("RGBA")
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
