"""The compiled code of one source file, as bytes that are valid for this state of the file only."""

from __future__ import annotations

import contextlib
import importlib.util
import marshal
import os
import struct
from dataclasses import dataclass
from types import CodeType

# Python's version of bytecode, time and size of the source, and a hash of the code: Python's own files have none, and
# one that is cut off fails an import.
_HEADER = struct.Struct("<4sqq8s")


@dataclass(frozen=True)
class Source:
    """A source file as it is now. ``mtime``: in whole seconds, as Python compares it. Images keep no parts of one."""

    path: str
    mtime: int
    size: int


def look_at(path: str) -> Source | None:
    """The source file at ``path``; None if it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - this runs for each module.
    except OSError:
        return None
    return Source(path, int(status.st_mtime), status.st_size)


def pack(source: Source, code: CodeType) -> bytes:
    """The compiled code of ``source``, to be kept."""
    body = marshal.dumps(code)
    return _header(source, body) + body


def read(file: str, source: Source) -> CodeType | None:
    """What ``pack`` has made of ``source``; None if the file is not there, is damaged or belongs to another state."""
    with contextlib.suppress(OSError, EOFError, ValueError, TypeError):
        with open(file, "rb") as opened:  # noqa: PTH123 - this runs for each module.
            content = opened.read()
        body = content[_HEADER.size :]
        if content.startswith(_header(source, body)):
            code: CodeType = marshal.loads(body)  # noqa: S302 - whoever can write it can write code: see Place.
            return code
    return None


def _header(source: Source, body: bytes) -> bytes:
    return _HEADER.pack(importlib.util.MAGIC_NUMBER, source.mtime, source.size, importlib.util.source_hash(body))
