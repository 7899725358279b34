"""Finds the pictures that nodes send to ComfyUI's page instead of saving them, as SaveImageWebsocket does.

They come as binary messages, like the previews of samplers. A node may name them in its ui dict, without a file name:
``{"source": "websocket"}`` for one that it has sent, ``{"source": "http", "id": …}`` for one that a route of its pack
gives.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.protocol.prompt_outcome import Outputs, dict_entries, file_entries

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
    entries = dict_entries(output or {})
    return [entry for entry in entries if "filename" not in entry and entry.get("source") == source]


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


@dataclass
class PageFiles:
    """The files made of a prompt's pictures for the page.

    Attributes:
        entries: as in a ui dict, by the id of the node.
        lines: one for each thing that is missing.
    """

    entries: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def make_files(
    folder: Path,
    sent: Mapping[str, Sequence[PagePicture]],
    outputs: Outputs,
    class_of: Callable[[str], str],
    ask: Callable[[str, Mapping[str, Any]], bytes | str | None],
) -> PageFiles:
    """Make files of the pictures that nodes have sent, and of those that they name.

    Args:
        folder: where the files come.
        sent: the pictures that output nodes have sent, by the id of the node.
        outputs: the ui dict of each node that has one.
        class_of: returns a node's class.
        ask: returns what a route gives for an entry of a node; a line that says why it gives nothing; or None, if
            there is no more to say than that it did not come.
    """
    made = PageFiles()
    for node_id in dict.fromkeys([*sent, *outputs]):
        output = outputs.get(node_id)
        pictures = [picture.data for picture in claimed(output, sent.get(node_id, ()))]
        missing = max(0, len(sources(output, "websocket")) - len(pictures))
        answers = [ask(node_id, entry) for entry in sources(output, "http")]
        missing += answers.count(None)
        if missing:
            made.lines.append(missing_line(node_id, missing))
        made.lines += [answer for answer in answers if isinstance(answer, str)]
        pictures += [answer for answer in answers if isinstance(answer, bytes)]
        if pictures:
            made.entries[node_id] = _written(folder, node_id, class_of(node_id), pictures, made.lines)
    return made


def _written(
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
