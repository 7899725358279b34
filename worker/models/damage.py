"""Finds out what is wrong with a model file, from its size and its first bytes."""

from __future__ import annotations

import json
import os
import stat
import struct
from pathlib import Path

_UNFINISHED = (".part", ".partial", ".crdownload", ".aria2", ".incomplete", ".download", ".tmp")
_SAFETENSORS = (".safetensors", ".sft")
_MAX_HEADER = 100_000_000


def damage(path: Path, name: str | None = None) -> str | None:
    """Why the file cannot be used, or None if it looks usable. Only a small part of the file is read.

    ``name``: the name that it is to have; None if it is the one that it has.
    """
    ending = Path(name or path.name).suffix.lower()
    if ending in _UNFINISHED:
        return "a download that has not ended"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # Opening a pipe would wait until something writes to it.
            return "it is no file, but a pipe, a socket, a device or a folder"
        size = status.st_size
        with path.open("rb") as file:
            start = file.read(512)
            if ending in _SAFETENSORS and _is_header(start, size):
                return _missing_bytes(file.fileno(), size)
    except FileNotFoundError:
        return "a link to a file that is not there"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if size == 0:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself: run 'git lfs pull' where it came from"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, not a model: the download needed a login or another address"
    if ending in _SAFETENSORS:
        return "it is no safetensors file"
    if ending == ".gguf" and not start.startswith(b"GGUF"):
        return "it is no GGUF file"
    return None


def _is_header(start: bytes, size: int) -> bool:
    """Whether ``start`` begins a safetensors file: the length of its header, then a JSON object."""
    length = struct.unpack("<Q", start[:8])[0] if len(start) >= 9 else 0
    return 0 < length < min(_MAX_HEADER, size) and start[8:9] == b"{"


def _missing_bytes(descriptor: int, size: int) -> str | None:
    length = struct.unpack("<Q", os.pread(descriptor, 8, 0))[0]
    try:
        header = json.loads(os.pread(descriptor, length, 8))
        wanted = 8 + length + max(entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return "its header is damaged"
    if wanted > size:
        return f"it is cut off: {size_text(size)} of {size_text(wanted)}"
    return None


def size_text(count: int) -> str:
    """``count`` bytes as a text in B, KB, MB or GB, in steps of 1000."""
    for unit, factor, digits in (("GB", 1e9, 2), ("MB", 1e6, 1), ("KB", 1e3, 1)):
        if count >= factor:
            return f"{count / factor:.{digits}f} {unit}"
    return f"{count} B"
