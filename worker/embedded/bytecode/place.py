"""A folder with compiled code: what may be kept there, and what is removed from it."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOST_BYTES = 256 * 2**20  # ComfyUI and thirty large packs take a fifth of it.
_COMPILED = re.compile(r"\.[^.]+(\.opt-\w+)?\.pyc$")


@functools.cache
def ending() -> str:
    """How Python ends the names of its compiled files, such as ``.cpython-311.pyc``.

    Raises:
        NotImplementedError: this Python has none.
    """
    return Path(importlib.util.cache_from_source("x.py")).name.removeprefix("x")


@dataclass(frozen=True)
class Place:
    """A folder in which each source file has its path, and the name that Python gives to its compiled code.

    Attributes:
        folder: it need not exist.
        volume: the network volume, if the folder lies there and is for source files of the volume only.
    """

    folder: Path
    volume: Path | None = None

    def takes(self, path: str) -> bool:
        """Whether the compiled code of the source file at ``path`` may lie here."""
        return self.volume is None or path.startswith(f"{self.volume}{os.sep}")

    def file(self, path: str) -> str:
        """Where it lies. ``path`` ends in ``.py``."""
        return f"{self.folder}{path[:-3]}{ending()}"

    def is_safe(self) -> bool:
        """Whether the folder is there, and nobody else can put code into it.

        On a volume, whoever can write can change the node packs themselves.
        """
        try:
            status = self.folder.stat()
        except OSError:
            return False
        return self.volume is not None or (status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022)

    def make(self) -> bool:
        """Make the folder. Returns whether it is safe."""
        with contextlib.suppress(OSError):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700 if self.volume is None else 0o777, exist_ok=True)
        return self.is_safe()

    def clean(self) -> None:
        """Remove what belongs to source files that are gone, and then the oldest, until the folder is small enough."""
        ages = sorted(self._entries())
        too_much = sum(size for _, _, size in ages) - _MOST_BYTES
        for _, file, size in ages:
            if too_much > 0 or self._is_gone(file):
                too_much -= size
                self._remove(Path(file))

    def _entries(self) -> Iterator[tuple[float, str, int]]:
        """The time, path and size of each file."""
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with contextlib.suppress(OSError):
                    status = os.stat(file := os.path.join(folder, name))  # noqa: PTH116, PTH118
                    yield status.st_mtime, file, status.st_size

    def _is_gone(self, file: str) -> bool:
        path = _COMPILED.sub(".py", file.removeprefix(str(self.folder)))
        # Another machine may have mounted the volume elsewhere.
        return self.takes(path) and not os.path.exists(path)  # noqa: PTH110

    def _remove(self, file: Path) -> None:
        """Remove a file, and the folders that are empty then."""
        with contextlib.suppress(OSError):
            file.unlink()
            for folder in file.relative_to(self.folder).parents[:-1]:
                (self.folder / folder).rmdir()
