"""Finds the pictures that nodes send to ComfyUI's page instead of saving them, as SaveImageWebsocket does.

They come as binary messages, like the previews of samplers. A node may name them in its ui dict, without a file name:
``{"source": "websocket"}`` for one that it has sent, ``{"source": "http", "id": …}`` for one that a route of its pack
gives.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.protocol.prompt_outcome import file_entries

PREVIEW, PREVIEW_WITH_METADATA = 1, 4  # ComfyUI's ``protocol.BinaryEventTypes``.
_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}


@dataclass(frozen=True)
class PagePicture:
    """A picture that a node has sent to the page. ``node_id``: the node's, if the message tells it."""

    data: bytes = field(repr=False)
    node_id: str | None = None

    @property
    def is_png(self) -> bool:
        """Whether it is a PNG. Samplers' previews are JPEGs."""
        return self.data.startswith(b"\x89PNG")


def read_frame(kind: int, payload: bytes) -> PagePicture | None:
    """The picture in a binary frame; None if the frame has none. ``payload``: what follows the frame's ``kind``."""
    try:
        if kind == PREVIEW:
            return PagePicture(payload[4:])
        if kind != PREVIEW_WITH_METADATA:
            return None
        (length,) = struct.unpack_from(">I", payload)
        metadata = json.loads(payload[4 : 4 + length])
        return PagePicture(payload[4 + length :], str(metadata["node_id"]) if metadata.get("node_id") else None)
    except (struct.error, ValueError, AttributeError, RecursionError):  # A pack's own data.
        return None


def sources(output: Mapping[str, Any] | None, source: str) -> list[Mapping[str, Any]]:
    """The pictures in a ui dict that have this ``source``, ``websocket`` or ``http``, in place of a file."""
    lists = [value for value in (output or {}).values() if isinstance(value, list | tuple)]
    entries = [entry for entries in lists for entry in entries if isinstance(entry, dict) and "filename" not in entry]
    return [entry for entry in entries if entry.get("source") == source]


def claimed(output: Mapping[str, Any] | None, sent: Sequence[PagePicture]) -> list[PagePicture]:
    """Those of the pictures that an output node has ``sent`` that are its results, and no previews.

    ``output``: its ui dict. If it names no picture of the page and no file, all PNGs are results.
    """
    count = len(sources(output, "websocket"))
    if count:
        return list(sent[-count:])
    return [] if output and file_entries(output) else [picture for picture in sent if picture.is_png]


def missing_line(node_id: str, count: int) -> str:
    """A line about ``count`` pictures that a node has named, and that did not come."""
    return (
        f"Node {node_id} named {count} picture(s) for ComfyUI's page that did not come: the connection was cut, or "
        "ComfyUI served the node from its cache"
    )


def write_pictures(
    folder: Path, node_id: str, class_type: str, pictures: Sequence[bytes], lines: list[str]
) -> list[dict[str, str]]:
    """Write a node's pictures as files, named after its class. Returns their entries, as in a ui dict.

    ``lines`` gets one if a file cannot be written.
    """
    entries: list[dict[str, str]] = []
    try:
        for name, data in zip(_free_names(folder, class_type, pictures), pictures, strict=True):
            (folder / name).write_bytes(data)
            entries.append({"filename": name, "subfolder": "", "type": "output"})
    except OSError as error:
        reason = error.strerror or type(error).__name__
        lines.append(f"A picture of node {node_id} for ComfyUI's page could not be stored ({reason})")
    return entries


def _free_names(folder: Path, class_type: str, pictures: Sequence[bytes]) -> Iterator[str]:
    folder.mkdir(exist_ok=True)
    prefix, number = re.sub(r"\W+", "_", class_type, flags=re.ASCII)[:80] or "page", 0
    for data in pictures:
        suffix = next((suffix for start, suffix in _SUFFIXES.items() if data.startswith(start)), ".bin")
        while True:
            number += 1
            name = f"{prefix}_{number:05}_{suffix}"
            if not (folder / name).exists():
                break
        yield name
