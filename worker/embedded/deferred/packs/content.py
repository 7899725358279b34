"""Tells whether the files of a node pack are those that the index was made with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_CODE = (".py", ".so", ".pyd", ".toml")
_NO_CODE = ("__pycache__", "node_modules")


def stamp(pack: str, read: Iterable[str]) -> str:
    """The names, sizes and times of a pack's files. A copy may have other times: see ``digest``.

    Args:
        pack: path of its folder, or of its file.
        read: further files in its folder that its import reads, by their paths in there.
    """
    # Whole seconds: images keep no parts of seconds.
    return _hashed(f"{name} {status.st_size} {int(status.st_mtime)}" for name, _, status in _files(pack, read))


def digest(pack: str, read: Iterable[str]) -> str:
    """The names and contents of a pack's files. Arguments as of ``stamp``."""
    return _hashed(
        f"{name} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}" for name, path, _ in _files(pack, read)
    )


def _hashed(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _files(pack: str, read: Iterable[str]) -> Iterator[tuple[str, str, os.stat_result]]:
    """Name, path and status of each file with code, and of each one in ``read``. One that is gone has no line."""
    if os.path.isfile(pack):  # noqa: PTH113 - this runs at each start.
        yield "", pack, os.stat(pack)  # noqa: PTH116
        return
    top = os.stat(pack)  # noqa: PTH116
    seen, waiting = {(top.st_dev, top.st_ino)}, [pack]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.endswith(_CODE) and entry.is_file():
                    yield os.path.relpath(entry.path, pack), entry.path, entry.stat()
                elif entry.is_dir() and not (entry.name.startswith(".") or entry.name in _NO_CODE):
                    if (place := _place(entry)) not in seen:  # Links may lead in a circle.
                        waiting.append(entry.path)
                    seen.add(place)
    for name in read:
        path = os.path.join(pack, name)  # noqa: PTH118
        if os.path.isfile(path):  # noqa: PTH113
            yield name, path, os.stat(path)  # noqa: PTH116


def _place(entry: os.DirEntry[str]) -> tuple[int, int]:
    status = entry.stat()
    return status.st_dev, status.st_ino
