"""``ImageFormat``: the formats and qualities that a job can ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

PNG_KEYWORD = re.compile("[ -~\xa1-\xff]{1,79}")  # What PNG allows as the name of a text.
FormatName = Literal["png", "webp", "jpeg"]


@dataclass(frozen=True)
class ImageFormat:
    """An image's format. ``quality`` is 1 to 100, for WebP and JPEG; 100 makes WebP lossless."""

    name: FormatName = "png"
    quality: int = 90

    @property
    def suffix(self) -> str:
        """The ending of a file's name, with the dot."""
        return ".jpg" if self.name == "jpeg" else f".{self.name}"

    @property
    def shown(self) -> str:
        """The format's name in messages."""
        return {"png": "PNG", "webp": "WebP", "jpeg": "JPEG"}[self.name]

    @property
    def media_type(self) -> str:
        """The value for ``Content-Type``."""
        return f"image/{self.name}"

    @property
    def largest_side(self) -> int:
        """Pixels a side that a file of this format can have."""
        return {"png": 2**31 - 1, "webp": 16_383, "jpeg": 65_500}[self.name]


PNG = ImageFormat()
