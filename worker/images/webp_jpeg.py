"""Encodes an image as WebP or JPEG, with Pillow."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from worker.images.formats import ImageFormat

if TYPE_CHECKING:
    from PIL.Image import Exif, Image

    from worker.images.png import Pixels


class Unfit(ValueError):
    """The format cannot hold the image. The text says why, and what to do."""


class AlphaLost(Unfit):
    """The image has transparency, and should become a JPEG, which cannot hold it."""

    def __init__(self) -> None:
        super().__init__("JPEG has no transparency, and this image has: use output_format png or webp")


class SideTooLong(Unfit):
    """The image is ``width`` × ``height`` pixels, and one of them is more than the format takes."""

    def __init__(self, wanted: ImageFormat, width: int, height: int) -> None:
        super().__init__(
            f"{wanted.shown} takes at most {wanted.largest_side} pixels a side, and this image has {width} x {height}"
        )


def fits(pixels: Pixels, wanted: ImageFormat) -> bool:
    """Whether ``wanted`` can hold ``pixels`` (H×W×C uint8, C 3 or 4)."""
    height, width, channels = pixels.shape
    if max(height, width) > wanted.largest_side:
        return False
    return wanted.name != "jpeg" or channels == 3 or bool((pixels[..., 3] == 255).all())


def in_8_bits(image: Image) -> Image:
    """``image``, scaled if it has 16 bits a pixel. Pillow would cut its values off at 255."""
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L") if image.mode[0] == "I" else image


def encode_webp_jpeg(image: Image, wanted: ImageFormat, exif: Exif | None = None) -> bytes:
    """Encode ``image`` as ``wanted``, WebP or JPEG, and write ``exif`` into the file.

    Raises:
        AlphaLost: ``wanted`` is JPEG, and the image has transparency.
        SideTooLong: the image has too many pixels a side.
    """
    if max(image.size) > wanted.largest_side:
        raise SideTooLong(wanted, *image.size)
    image = in_8_bits(image)
    if wanted.name == "jpeg":
        image = _opaque(image)
    elif image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    buffer = io.BytesIO()
    options = {"exif": exif} if exif is not None else {}
    if wanted.name == "webp":
        image.save(buffer, "WEBP", quality=wanted.quality, lossless=wanted.quality == 100, method=2, **options)
    else:
        image.save(buffer, "JPEG", quality=wanted.quality, **options)
    return buffer.getvalue()


def _opaque(image: Image) -> Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").histogram()[255] < image.width * image.height:
            raise AlphaLost
    return image if image.mode in ("RGB", "L") else image.convert("RGB")
