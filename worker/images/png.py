"""Encodes PNG fast: numpy filters the rows of an image and ISA-L deflates them, in strips that are independent.

Format: W3C PNG specification, third edition. Each strip ends with a full flush, so it ends at a whole byte of the
deflate stream. So threads can encode the strips in parallel, and ``assemble`` only joins them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from isal import isal_zlib

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Chunk = tuple[bytes, bytes]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # Grey, RGB, RGBA.
_STRIP_BYTES = 512 * 1024
_SAMPLE_ROWS = 12
_NONE, _SUB, _UP, _AVERAGE, _PAETH = range(5)
# Above this ratio, zlib makes much smaller files than ISA-L, and is fast as well.
_COMPRESSIBLE = 12
_NEARLY_NOTHING = 100  # The ratio above which a strip is almost of one colour.
_PAETH_COST = 1.15  # Paeth takes as long as all other steps together. Choose it only if others are this much larger.
_ADLER_BASE = 65521


@dataclass(frozen=True)
class Strip:
    """Encoded rows of an image: raw deflate data, and the Adler-32 and the length of the bytes that were deflated."""

    deflated: bytes = field(repr=False)
    adler: int
    length: int


def strip_rows(pixels: Pixels) -> list[range]:
    """Divide the rows of ``pixels`` (H×W×C) into strips of about 512 KiB."""
    height, width, channels = pixels.shape
    rows = max(1, _STRIP_BYTES // (width * channels + 1))
    return [range(start, min(start + rows, height)) for start in range(0, height, rows)]


def encode_strip(pixels: Pixels, rows: range) -> Strip:
    """Filter and deflate ``rows`` of ``pixels`` (H×W×C, C 1, 3 or 4)."""
    height, width, channels = pixels.shape
    lines = pixels.reshape(height, width * channels)
    filter_type, ratio = _choose_filter(lines, rows, channels)
    # A sample of such a strip says little about the best filter. So deflate the whole strip with two filters, and take
    # the smaller result.
    filters = {filter_type, _PAETH} if ratio > _NEARLY_NOTHING else {filter_type}
    last = rows.stop == height
    return min(
        (_deflated(_filtered(lines, rows, channels, filter_type), ratio, last=last) for filter_type in filters),
        key=lambda strip: len(strip.deflated),
    )


def _deflated(filtered: Pixels, ratio: float, *, last: bool) -> Strip:
    if ratio > _COMPRESSIBLE:
        stream = zlib.compressobj(4, zlib.DEFLATED, -15)
        deflated = stream.compress(filtered.data) + stream.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)
    else:
        fast = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
        deflated = fast.compress(filtered) + fast.flush(isal_zlib.Z_FINISH if last else isal_zlib.Z_FULL_FLUSH)
    return Strip(deflated, isal_zlib.adler32(filtered), filtered.nbytes)


def assemble(shape: Sequence[int], strips: Iterable[Strip], chunks: Iterable[Chunk] = ()) -> bytes:
    """Build the PNG file of an image of ``shape`` (H, W, C). ``chunks`` of ``(kind, data)`` come before its pixels."""
    height, width, channels = shape
    header = struct.pack(">2I5B", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    parts = [_SIGNATURE, *_chunk(b"IHDR", header)]
    for kind, data in chunks:
        parts += _chunk(kind, data)
    adler, data = 1, b"\x78\x01"
    for strip in strips:
        adler = _joined_adler(adler, strip.adler, strip.length)
        parts += _chunk(b"IDAT", data + strip.deflated if data else strip.deflated)
        data = b""
    parts += [*_chunk(b"IDAT", struct.pack(">I", adler)), *_chunk(b"IEND", b"")]
    return b"".join(parts)


def _choose_filter(lines: Pixels, rows: range, channels: int) -> tuple[int, float]:
    """The filter that makes some rows in the middle of the strip smallest, and the ratio raw / deflated size."""
    middle = (rows.start + rows.stop) // 2
    sample = range(max(rows.start, middle - _SAMPLE_ROWS // 2), min(rows.stop, middle + _SAMPLE_ROWS // 2 + 1))
    sizes = {}
    for filter_type in (_AVERAGE, _UP, _SUB, _NONE, _PAETH):
        filtered = _filtered(lines, sample, channels, filter_type)
        sizes[filter_type] = len(isal_zlib.compress(filtered, 1))
    sizes[_PAETH] = round(sizes[_PAETH] * _PAETH_COST)
    best = min(sizes, key=sizes.__getitem__)
    return best, len(sample) * lines.shape[1] / sizes[best]


def _filtered(lines: Pixels, rows: range, channels: int, filter_type: int) -> Pixels:
    """Filter ``rows`` of ``lines`` (H×W·C). Each row begins with its filter's number. Differences are modulo 256."""
    given = lines[rows.start : rows.stop]
    out = np.empty((given.shape[0], given.shape[1] + 1), np.uint8)
    out[:, 0] = filter_type
    body = out[:, 1:]
    if filter_type == _NONE:
        body[:] = given
    elif filter_type == _SUB:
        body[:, :channels] = given[:, :channels]
        np.subtract(given[:, channels:], given[:, :-channels], out=body[:, channels:])
    elif filter_type == _UP:
        np.subtract(given, _above(lines, rows), out=body)
    else:
        predict = _average if filter_type == _AVERAGE else _paeth
        predict(given, _above(lines, rows), channels, body)
        np.subtract(given, body, out=body)
    return out


def _average(given: Pixels, above: Pixels, channels: int, out: Pixels) -> None:
    """Write the mean of left and above to ``out``. (a & b) + ((a ^ b) >> 1) is (a + b) // 2, and fits 8 bits."""
    np.right_shift(above[:, :channels], 1, out=out[:, :channels])
    left, over, mean = given[:, :-channels], above[:, channels:], out[:, channels:]
    np.bitwise_xor(left, over, out=mean)
    np.right_shift(mean, 1, out=mean)
    np.add(mean, left & over, out=mean)


def _paeth(given: Pixels, above: Pixels, channels: int, out: Pixels) -> None:
    """Write left, above or above left to ``out``: the one nearest to left + above - above left.

    If two are equally near, the first in this order is taken.
    """
    out[:, :channels] = above[:, :channels]
    left, over = given[:, :-channels].astype(np.int16), above[:, channels:].astype(np.int16)
    corner = above[:, :-channels].astype(np.int16)
    from_over, from_left = left - corner, over - corner  # The distances from left + above - above left.
    to_corner = np.abs(from_over + from_left)
    from_over, from_left = np.abs(from_over), np.abs(from_left)
    not_left = np.where(from_over <= to_corner, over, corner)
    out[:, channels:] = np.where((from_left <= from_over) & (from_left <= to_corner), left, not_left)


def _above(lines: Pixels, rows: range) -> Pixels:
    if rows.start > 0:
        return lines[rows.start - 1 : rows.stop - 1]
    return np.concatenate([np.zeros_like(lines[:1]), lines[: rows.stop - 1]])


def _chunk(kind: bytes, data: bytes) -> list[bytes]:
    crc = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return [struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc)]


def _joined_adler(first: int, second: int, length: int) -> int:
    """The Adler-32 of two byte strings together, from the Adler-32 of each. ``length``: bytes in the second one.

    This is zlib's ``adler32_combine``, which Python does not offer.
    """
    low = (first & 0xFFFF) + (second & 0xFFFF) - 1
    high = (first >> 16) + (second >> 16) + (length % _ADLER_BASE) * ((first & 0xFFFF) - 1)
    return (high % _ADLER_BASE) << 16 | (low % _ADLER_BASE)
