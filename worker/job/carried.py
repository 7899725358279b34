"""Reads the workflow that ComfyUI, or this worker, has written into a picture, a sound or a video.

A file has the API graph as ``prompt`` and the editor's form of it as ``workflow``: PNG as texts of these names, WebP
and JPEG as Exif values that begin with the name, sounds and videos as metadata of the container. VideoHelperSuite
writes both into the ``comment`` of a video.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from worker.errors import InvalidJob

PICTURES = ("PNG", "JPEG", "WEBP")  # As Pillow calls them. An MPO is opened as a JPEG.
_NAMES = ("prompt", "workflow")  # The first one that a file has is taken: it is what ran.
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff")
_MEDIA = (b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3")


def carries_metadata(data: bytes) -> bool:
    """Whether ``data`` is a picture, a sound or a video, by its first bytes."""
    return data.startswith((*_PICTURES, *_MEDIA)) or _is_webp(data) or data[4:8] == b"ftyp"


def carried_workflow(path: Path | str, data: bytes) -> str:
    """The JSON text of the workflow in a file: its API graph, or else the editor's form.

    Args:
        path: what the file is called in messages.
        data: its content.

    Raises:
        InvalidJob: the file is damaged, or carries no workflow.
    """
    return next(iter(carried_texts(path, data).values()))


def carried_texts(path: Path | str, data: bytes) -> dict[str, str]:
    """The JSON texts of all forms of the workflow in a file, ``prompt`` and ``workflow``: at least one of them.

    The arguments and errors are those of ``carried_workflow``.
    """
    is_picture = data.startswith(_PICTURES) or _is_webp(data)
    texts = _of_picture(path, data) if is_picture else _of_media(path, data)
    found = {name: text for name in _NAMES if (text := texts.get(name))}
    if not found:
        raise InvalidJob(f"{path} carries no workflow: ComfyUI writes one into a file as its 'prompt' or 'workflow'")
    return found


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _of_picture(path: Path | str, data: bytes) -> Mapping[str, str]:
    try:
        with Image.open(io.BytesIO(data), formats=PICTURES) as image:
            if image.format == "PNG":
                image.load()  # The text may come after the pixels.
            texts = {str(name): text for name, text in image.info.items() if isinstance(text, str)}
            values = [value for value in image.getexif().values() if isinstance(value, str)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = "it cannot be identified" if isinstance(error, UnidentifiedImageError) else error
        kind = "PNG" if data.startswith(_PICTURES[0]) else "picture"
        raise InvalidJob(f"{path} is a damaged {kind}: {why}") from None
    split = (value.partition(":") for value in values)
    return {name: text for name, _, text in split} | texts


def _of_media(path: Path | str, data: bytes) -> Mapping[str, str]:
    import av  # Slow to import, and few files need it.

    try:
        with av.open(io.BytesIO(data)) as container:
            found = [container.metadata, *(stream.metadata for stream in container.streams)]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InvalidJob(f"{path} is a damaged sound or video: {error}") from None
    texts = {name.lower(): text for metadata in reversed(found) for name, text in metadata.items()}
    return dict(_of_comment(texts.get("comment", ""))) | texts


def _of_comment(text: str) -> Iterator[tuple[str, str]]:
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        return
    for name, part in parts.items() if isinstance(parts, dict) else ():
        yield name, part if isinstance(part, str) else json.dumps(part)
