"""The PNG encoder: what Pillow reads back is what went in, and files are about as small as Pillow's."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from worker.images.png import Chunk, Pixels, assemble, encode_strip, strip_rows

RNG = np.random.default_rng(7)


def encoded(pixels: Pixels, chunks: Iterable[Chunk] = ()) -> bytes:
    """The file, from all of its strips."""
    return assemble(pixels.shape, [encode_strip(pixels, rows) for rows in strip_rows(pixels)], chunks)


def read(content: bytes) -> Pixels:
    """The picture, as Pillow reads it, which checks every chunk's CRC and the stream's Adler-32."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1), st.integers(1, 256)
)
@settings(deadline=None)
def test_any_picture_comes_back(height: int, width: int, channels: int, seed: int, levels: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, levels, (height, width, channels), np.uint8)
    assert np.array_equal(read(encoded(pixels)), pixels)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 8192, 3), (8192, 1, 4), (2049, 513, 3), (700, 1201, 1), (1023, 1025, 4)]
)
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    for pixels in (RNG.integers(0, 256, shape, np.uint8), np.zeros(shape, np.uint8), gradient(shape)):
        assert np.array_equal(read(encoded(pixels)), pixels)


@pytest.mark.full
def test_the_largest() -> None:
    pixels = np.tile(RNG.integers(0, 256, (512, 512, 3), np.uint8), (16, 16, 1))
    Image.MAX_IMAGE_PIXELS = None
    assert np.array_equal(read(encoded(pixels)), pixels)


def test_chunks_come_before_the_pixels() -> None:
    content = encoded(np.zeros((4, 4, 3), np.uint8), [(b"tEXt", b"prompt\0{}")])
    assert Image.open(io.BytesIO(content)).info == {"prompt": "{}"}


def gradient(shape: tuple[int, int, int]) -> Pixels:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    planes = [x * 255 // shape[1], y * 255 // shape[0], 255 - x * 255 // shape[1], (x + y) % 256]
    return np.ascontiguousarray(np.stack(planes[: shape[2]], -1).astype(np.uint8))


def pictures(project: Path) -> Iterator[tuple[str, Pixels]]:
    """Photographs, renderings, flat art, gradients and text."""
    landscape = Image.open(project / "docs" / "landscape.jpg").convert("RGB")
    yield "landscape", np.asarray(landscape)
    yield "photograph", photograph(1024)
    yield "soft photograph", np.asarray(Image.fromarray(photograph(1024)).filter(ImageFilter.GaussianBlur(2)))
    yield "gradient", gradient((1024, 1024, 3))
    yield "gradient with alpha", gradient((512, 512, 4))
    y, x = np.mgrid[0:1024, 0:1024] / 1024
    radial = np.stack([np.hypot(x - 0.5, y - 0.5) * 300] * 3, -1).clip(0, 255).astype(np.uint8)
    yield "radial gradient", radial
    flat = Image.new("RGB", (1024, 1024), "white")
    rendering = np.zeros((1024, 1024, 3))
    for _ in range(40):
        left, top, size = (int(value) for value in RNG.integers(0, 700, 3))
        color = tuple(int(value) for value in RNG.integers(0, 255, 3))
        ImageDraw.Draw(flat).ellipse((left, top, left + size + 9, top + size + 9), fill=color)
        depth = 1 - ((x - left / 1024) ** 2 + (y - top / 1024) ** 2) / (size / 4096 + 0.02) ** 2
        rendering[depth > 0] = (np.sqrt(depth.clip(0))[..., None] * color)[depth > 0]
    yield "flat art", np.asarray(flat)
    yield "flat art, smoothed", np.asarray(flat.resize((512, 512), Image.Resampling.LANCZOS))
    yield "rendering", rendering.clip(0, 255).astype(np.uint8)
    text = Image.new("RGB", (1024, 1024), "white")
    lines = (project / "LICENSE").read_text().splitlines()
    for number, line in enumerate(lines[:68]):
        ImageDraw.Draw(text).text((8, number * 15), line, fill="black", font=ImageFont.load_default(14))
    yield "text", np.asarray(text)
    yield "black", np.zeros((1024, 1024, 3), np.uint8)


def photograph(size: int) -> Pixels:
    """Noise with the spectrum of a photograph, and some of a sensor."""
    frequency = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.fftfreq(size)[None] ** 2
    frequency[0, 0] = 1
    shared, planes = RNG.normal(size=(size, size)), []
    for _ in range(3):
        spectrum = np.fft.fft2(shared * 0.8 + RNG.normal(size=(size, size)) * 0.2) / frequency**0.55
        plane = np.fft.ifft2(spectrum).real
        planes.append((plane - plane.min()) / (plane.max() - plane.min()))
    return ((np.stack(planes, -1) + RNG.normal(size=(size, size, 3)) * 0.008).clip(0, 1) * 255).astype(np.uint8)


def test_files_are_about_as_small_as_pillows(project: Path) -> None:
    ratios = {}
    for name, pixels in pictures(project):
        pillow = io.BytesIO()
        Image.fromarray(pixels).save(pillow, "PNG", compress_level=4)
        ours = encoded(np.ascontiguousarray(pixels))
        assert np.array_equal(read(ours), pixels), name
        ratios[name] = round(len(ours) / len(pillow.getvalue()), 3)
    assert max(ratios.values()) <= 1.25, ratios
