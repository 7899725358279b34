"""Makes small JPEGs of the previews that a sampler shows."""

from __future__ import annotations

import io

from PIL import Image

MAX_SIDE, MAX_BYTES = 512, 32_768
_MOST_PIXELS = 20_000_000  # A larger one is no preview, and would take the time of the run.
_QUALITIES = (80, 60, 35)


def preview_jpeg(image: Image.Image) -> bytes | None:
    """``image`` as a JPEG of at most ``MAX_SIDE`` pixels a side and ``MAX_BYTES``; None if it is too large for that.

    The image itself is left as it is.

    Raises:
        OSError, ValueError: Pillow cannot convert or encode it.
    """
    if not 0 < image.width * image.height <= _MOST_PIXELS:
        return None
    small = image if image.mode in ("RGB", "L") else image.convert("RGB")
    if max(small.size) > MAX_SIDE:
        small = _shrunk(small, MAX_SIDE)
    while True:
        for quality in _QUALITIES:
            if len(content := _encoded(small, quality)) <= MAX_BYTES:
                return content
        small = _shrunk(small, max(small.size) // 2)


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = tuple(max(1, round(length * scale)) for length in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=1.5)


def _encoded(image: Image.Image, quality: int) -> bytes:
    target = io.BytesIO()
    # Colours of full size: each pixel of a latent stands for 64 of the picture.
    image.save(target, "JPEG", quality=quality, subsampling=0)
    return target.getvalue()
