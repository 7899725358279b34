"""Reads files into the page cache with many threads, in the order in which they were asked for, each piece once."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections import deque
from pathlib import Path

from worker.logs import one_line
from worker.models.readahead.page_cache import PIECE_BYTES, FileReader, missing_pieces, opened

# A network volume answers each request after some milliseconds, so many of them must be on their way at once.
THREADS = 16
_log = logging.getLogger("worker.models")


class Reading:
    """The files that are read ahead for one job, and how much of them was read.

    Attributes:
        files: how many files had parts that were not in the page cache.
        size: bytes of all its files.
        planned: bytes that were to be read.
        done: bytes that were read so far.
        is_closed: whether nothing more is read for it.
        is_cut: whether it was closed before all was read.
    """

    def __init__(self) -> None:
        self.files = self.size = self.planned = self.done = 0
        self.is_closed = self.is_cut = False
        self._began, self._last = time.perf_counter(), 0.0

    @property
    def span(self) -> tuple[float, float]:
        """When it began, and when the last piece was read, by ``time.perf_counter``. Equal if none was."""
        return self._began, max(self._began, self._last)

    @property
    def seconds(self) -> float:
        """From its begin to the last piece that was read; 0 if none was."""
        began, last = self.span
        return last - began

    def note(self, count: int) -> None:
        """Count ``count`` more bytes as read."""
        self.done += count
        self._last = time.perf_counter()


class _File:
    """A file that is read. ``pieces``: where those begin that nobody has taken. ``left``: those that are not read."""

    def __init__(self, path: str, pieces: list[int]) -> None:
        self.path, self.pieces, self.left = path, deque(pieces), len(pieces)
        self.readings: set[Reading] = set()

    @property
    def bytes_left(self) -> int:
        return self.left * PIECE_BYTES


class Reader:
    """Reads files for any number of readings. Any thread may use it. Its threads end when there is nothing to read."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._files: dict[tuple[int, int], _File] = {}  # By device and inode, since a file may have several names.
        self._threads = 0

    def add(self, reading: Reading, path: Path, room: int) -> None:
        """Read ``path`` for ``reading``, after all that was asked for before, as far as ``room`` bytes allow.

        What another reading reads already is not read twice.

        Raises:
            OSError: it is no file that can be read.
        """
        name = str(path)
        with opened(name) as descriptor:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return
            key = (found.st_dev, found.st_ino)
            if not self._join(key, reading):
                missing = missing_pieces(descriptor, found.st_size)
                self._begin(key, reading, _File(name, missing[: max(0, room) // PIECE_BYTES]))
        reading.size += found.st_size

    def _join(self, key: tuple[int, int], reading: Reading) -> bool:
        with self._changed:
            file = self._files.get(key)
            if file is not None and not reading.is_closed:
                self._owned(file, reading)
            return file is not None

    def _begin(self, key: tuple[int, int], reading: Reading, file: _File) -> None:
        with self._changed:
            if reading.is_closed:
                return
            file = self._files.setdefault(key, file)
            self._owned(file, reading)
            for _ in range(min(len(file.pieces), THREADS - self._threads)):
                try:
                    threading.Thread(target=self._work, name="read-ahead", daemon=True).start()
                except RuntimeError:  # The system gives no further thread.
                    break
                self._threads += 1

    @staticmethod
    def _owned(file: _File, reading: Reading) -> None:
        if reading not in file.readings:
            file.readings.add(reading)
            reading.files += bool(file.left)
            reading.planned += file.bytes_left

    def wait(self, reading: Reading, timeout_s: float | None = None) -> bool:
        """Wait until all files of ``reading`` are read, or it is closed. Returns False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: reading.is_closed or not self._left(reading), timeout_s)

    def stop(self, reading: Reading) -> None:
        """Read nothing more for ``reading``. What other readings need is read on."""
        with self._changed:
            if not reading.is_closed:
                reading.is_closed, reading.is_cut = True, bool(self._left(reading))
            for key, file in list(self._files.items()):
                file.readings.discard(reading)
                if not file.readings:
                    file.pieces.clear()
                    del self._files[key]
            self._changed.notify_all()

    def _left(self, reading: Reading) -> int:
        return sum(file.left for file in self._files.values() if reading in file.readings)

    def _work(self) -> None:
        reader = FileReader()
        try:
            while (piece := self._next()) is not None:
                file, offset = piece
                count = 0
                try:
                    count = reader.read(file.path, offset, PIECE_BYTES)
                except OSError as error:  # ComfyUI says what is wrong with it, if it needs the file.
                    _log.debug("%s is not read ahead: %s", one_line(file.path), error.strerror)
                    self._give_up(file)
                self._done(file, count)
        finally:
            reader.close()

    def _next(self) -> tuple[_File, int] | None:
        with self._changed:
            for file in self._files.values():
                if file.pieces:
                    return file, file.pieces.popleft()
            self._threads -= 1
            return None

    def _give_up(self, file: _File) -> None:
        with self._changed:
            file.left -= len(file.pieces)
            file.pieces.clear()

    def _done(self, file: _File, count: int) -> None:
        with self._changed:
            file.left -= 1
            for reading in file.readings:
                reading.note(count)
            if not file.left:
                self._changed.notify_all()
