"""Compares two files: their bytes, and what they are when decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence
from soaking.contents import pixels

_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def difference(one: Path, other: Path) -> str | None:
    """What differs between two files, in words; None if nothing that a person could see or hear does."""
    first, second = one.read_bytes(), other.read_bytes()
    if first == second:
        return None
    try:
        if pixels(first) != pixels(second):
            return _of_pictures(one, other)
        return _of_metadata(one, other)
    except _UNREADABLE:  # It is no picture.
        pass
    decoded = [_decoded(path) for path in (one, other)]
    if None not in decoded:
        return None if decoded[0] == decoded[1] else f"when decoded, {decoded[0]} and {decoded[1]}"
    at = next((index for index, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None)
    where = f"different from byte {at:,} on" if at is not None else "the shorter one is the beginning of the other"
    return f"{len(first):,} and {len(second):,} bytes, {where}"


def _of_pictures(one: Path, other: Path) -> str:
    with Image.open(one) as first, Image.open(other) as second:
        shapes = [f"{image.width}×{image.height} {image.mode}" for image in (first, second)]
        frames = [_frames(image) for image in (first, second)]
        if shapes[0] != shapes[1] or len(frames[0]) != len(frames[1]):
            return " and ".join(f"{shape}, {len(of)} frames" for shape, of in zip(shapes, frames, strict=True))
        apart = np.abs(np.stack(frames[0]).astype(int) - np.stack(frames[1]).astype(int))
    share = float((apart.reshape(*apart.shape[:3], -1).max(axis=-1) > 0).mean())
    return f"{share:.2%} of the pixels differ, by {int(apart.max())} of 255 at most"


def _frames(image: Image.Image) -> list[Any]:
    return [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]


def _of_metadata(one: Path, other: Path) -> str | None:
    with Image.open(one) as first, Image.open(other) as second:
        names = [_texts(image) for image in (first, second)]
    if names[0] == names[1]:
        return None
    apart = sorted(key for key in names[0].keys() | names[1].keys() if names[0].get(key) != names[1].get(key))
    return f"the same pixels, but other metadata: {', '.join(apart)}"


def _texts(image: Image.Image) -> dict[str, str]:
    return {str(key): text for key, text in image.info.items() if isinstance(text, str)}


def _decoded(path: Path) -> str | None:
    """What a video or a sound is when decoded, in words with a digest; None if it is neither."""
    import av  # It takes half a second, and most workflows save pictures.

    digest, count = hashlib.sha256(), 0
    try:
        with av.open(str(path)) as media:
            kinds = ", ".join(stream.type for stream in media.streams)
            for content in _packets(media):
                digest.update(content)
                count += 1
    except (av.FFmpegError, ValueError):
        return None
    return f"{kinds}: {count} frames ({digest.hexdigest()[:8]})" if count else None


def _packets(media: Any) -> Iterator[bytes]:
    for frame in media.decode():
        yield frame.to_ndarray().tobytes()
