"""Remembers what is known of a file, beside it, so that it is not read again to find its SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = ".comfy-worker"
"""The folder beside fetched files, for parts, locks and records. Its files have no ending that ComfyUI lists."""
_PIECE = 4 << 20


@dataclass(frozen=True)
class Record:
    """What is known of a file as it was when it had this ``size`` in bytes and this ``mtime_ns``.

    ``url``: where it came from, without tokens; empty if it is not known.
    """

    size: int
    mtime_ns: int
    sha256: str | None
    url: str = ""


def beside(target: Path, ending: str) -> Path:
    """The path of the file that the fetching of ``target`` needs, such as its part."""
    return target.parent / FOLDER / f"{target.name}{ending}"


def read_record(target: Path) -> Record | None:
    """What was remembered of ``target``; None if nothing was, or it is another file since."""
    try:
        status = target.stat()
        given = json.loads(beside(target, ".json").read_text(encoding="utf-8"))
        record = Record(**given)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return record if (record.size, record.mtime_ns) == (status.st_size, status.st_mtime_ns) else None


def remember(target: Path, sha256: str | None, url: str = "") -> Record:
    """Remember ``target`` as it is now. It does no harm if that cannot be written.

    Raises:
        OSError: the file is gone.
    """
    status = target.stat()
    record = Record(status.st_size, status.st_mtime_ns, sha256, url)
    with contextlib.suppress(OSError):
        write_json(beside(target, ".json"), asdict(record))
    return record


def write_json(path: Path, content: Any) -> None:
    """Write a small file so that nobody sees a part of it.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    path.parent.mkdir(exist_ok=True)
    try:
        part.write_text(json.dumps(content), encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def hash_of(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """The SHA-256 of a file. ``on_bytes``: called with the bytes of each piece that was read; it may raise.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        with contextlib.suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while piece := file.read(_PIECE):
            digest.update(piece)
            on_bytes(len(piece))
    return digest.hexdigest()
