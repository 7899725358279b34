"""The formats in which a job can have its images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Exif, Image

FormatName = Literal["png", "webp", "jpeg"]


@dataclass(frozen=True)
class ImageFormat:
    """``quality``: 1 to 100, of WebP and JPEG; 100 makes WebP lossless."""

    name: FormatName = "png"
    quality: int = 90

    @property
    def suffix(self) -> str:
        """The end of a file's name."""
        return ".jpg" if self.name == "jpeg" else f".{self.name}"

    @property
    def media_type(self) -> str:
        """As in ``Content-Type``."""
        return f"image/{self.name}"


PNG = ImageFormat()


class AlphaLost(ValueError):
    """A picture with transparency cannot be had as JPEG."""

    def __init__(self) -> None:
        super().__init__("JPEG has no transparency, and this image has: use output_format png or webp")


def encode_lossy(image: Image, wanted: ImageFormat, exif: Exif | None = None) -> bytes:
    """``image`` as WebP or JPEG.

    Raises:
        AlphaLost: it is to be a JPEG and is not opaque.
    """
    if image.mode.startswith("I"):  # 16 bits: Pillow would cut off instead of scaling.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
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
