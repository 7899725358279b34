"""Tells how much memory a file takes when it is decoded, as far as its header says so."""

from __future__ import annotations

import importlib
import io
from typing import Any

from worker.job.files.content import Content
from worker.job.files.formats import demuxers_for

_PER_PIXEL = 3 * 4  # ComfyUI has three colours of 32 bits.
_PER_SAMPLE = 4


def decoded_size(data: bytes, content: Content, *, films: bool) -> int:
    """Bytes of ``data`` as ComfyUI has them when they are decoded; 0 if that is not known.

    Args:
        data: the whole file.
        content: what ``identify`` says about it.
        films: whether the headers of videos and sounds are read as well.
    """
    if content.pixels:
        return content.pixels * _PER_PIXEL
    if films and content.media_type.startswith(("video/", "audio/")):
        return _of_film(data)
    return 0


def _of_film(data: bytes) -> int:
    try:
        av: Any = importlib.import_module("av")  # Slow to import, and most jobs have no videos.
        file = io.BytesIO(data)
        demuxers = demuxers_for(file)
        file.seek(0)
        with av.open(file, format=demuxers[0]) as container:
            return sum(_of_stream(stream, container) for stream in container.streams)
    except Exception:  # noqa: BLE001 - a damaged file. The node that reads it will say so.
        return 0


def _of_stream(stream: Any, container: Any) -> int:
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / 1e6
    if stream.type == "video":
        frames = stream.frames or seconds * float(stream.average_rate or 0)
        return int(stream.width * stream.height * max(frames, 1)) * _PER_PIXEL
    if stream.type == "audio":
        return int(seconds * stream.rate * stream.channels) * _PER_SAMPLE
    return 0
