"""Lets Python's own loader of source files look into the cache, and put in what it had to compile.

ComfyUI loads node packs with that loader directly (``spec_from_file_location``), past every finder. So one method of
the loader itself is replaced.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from queue import SimpleQueue
from types import CodeType
from typing import Any

from worker.embedded.bytecode.entry import Source, look_at, pack, read
from worker.embedded.bytecode.place import Place
from worker.embedded.start.cache_folders import keep

_python: Any = SourceFileLoader.get_code


class _Compiling(SourceFileLoader):
    """Python's loader, which remembers what it had to compile: it found nothing valid in ``__pycache__``."""

    compiled: CodeType | None = None

    def source_to_code(self, *arguments: Any, **options: Any) -> CodeType:  # type: ignore[override]
        """As Python's loader does."""
        self.compiled = super().source_to_code(*arguments, **options)
        return self.compiled


class BytecodeCache:
    """Keeps the compiled code of some source files.

    Args:
        places: where it is looked for. New code goes to the first of them that takes it and can be written.
        roots: beginnings of the paths of these source files. All others are imported as ever.
    """

    def __init__(self, places: Sequence[Place], roots: tuple[str, ...]) -> None:
        self._places, self._roots = places, roots
        self._safe = [place for place in places if place.is_safe()]
        self._new: SimpleQueue[tuple[str, bytes]] = SimpleQueue()

    def begin(self) -> None:
        """From now on, these source files are imported by way of the cache."""

        def get_code(loader: SourceFileLoader, fullname: str) -> CodeType:
            if type(loader) is SourceFileLoader:  # A loader of a pack's own may compile otherwise.
                path = loader.get_filename(fullname)
                if self._covers(path) and (source := look_at(path)) is not None:
                    return self._code(loader, fullname, source)
            code: CodeType = _python(loader, fullname)
            return code

        threading.Thread(target=self._write, name="bytecode", daemon=True).start()
        python: Any = SourceFileLoader
        python.get_code = get_code

    def _covers(self, path: str) -> bool:
        return path.startswith(self._roots) and path.endswith(".py") and "/../" not in path

    def _code(self, loader: SourceFileLoader, fullname: str, source: Source) -> CodeType:
        for place in self._safe:
            if place.takes(source.path) and (code := read(place.file(source.path), source)) is not None:
                return code
        python = _Compiling(fullname, loader.path)
        found: CodeType = _python(python, fullname)
        if python.compiled is not None:
            with contextlib.suppress(MemoryError):  # Within a job's limits.
                self._new.put((source.path, pack(source, python.compiled)))
        return found

    def _write(self) -> None:
        """Write what is new, on a thread of its own: a volume may be slow."""
        first = self._new.get()
        places = [place for place in self._places if place.make()]
        for place in places:
            place.clean()
        while True:
            path, content = first
            keep([Path(place.file(path)) for place in places if place.takes(path)], content)
            first = self._new.get()
