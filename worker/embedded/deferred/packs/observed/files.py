"""Which files are opened while a node pack is imported. Python tells of them for as long as the process lives."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class OpenedFiles:
    """Listens to Python's audit events."""

    def __init__(self) -> None:
        self._read: set[str] | None = None
        self._written: set[str] = set()
        self._thread = threading.get_ident()
        sys.addaudithook(self._hear)

    @contextmanager
    def noted(self) -> Iterator[tuple[set[str], set[str]]]:
        """Within this context, the paths of files that this thread opens for reading, and for writing, are added."""
        self._thread = threading.get_ident()  # A thread of the worker may write compiled code meanwhile.
        read, written = set[str](), set[str]()
        self._read, self._written = read, written
        try:
            yield read, written
        finally:
            self._read = None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.mkdir") or self._read is None or threading.get_ident() != self._thread:
            return
        if not isinstance(arguments[0], str | bytes):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100
        if event == "os.mkdir" or (isinstance(arguments[2], int) and arguments[2] & _WRITES):
            self._written.add(path)
        else:
            self._read.add(path)
