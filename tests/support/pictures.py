"""Small pictures as files."""

from __future__ import annotations

import io

from PIL import Image


def png(color: object = "red", size: tuple[int, int] = (16, 16), mode: str = "RGB") -> bytes:
    """A PNG of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")  # type: ignore[arg-type]
    return buffer.getvalue()
