"""The folder in which fetched models are kept, for all workers that have the disk: ``MODEL_CACHE_DIR``.

::

    files/<key>/model.safetensors    a file, and in .comfy-worker/ beside it what its fetching needs
    index/<key>.json                 which file it is; its time says when the file was last used
    leases/<key>                     see ``worker.on_demand.leases``

Only files of the index are ever removed. A key is different for each address and hash.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from worker.errors import FetchFailed
from worker.fetch.part import left_over, locked
from worker.fetch.records import beside, read_record, write_json
from worker.models.damage import size_text
from worker.on_demand.in_use import keys_in_use
from worker.on_demand.leases import Lease

_SPARE = 64 << 20  # Bytes that stay free on the disk, since other programs write as well.
_NAME = "model"
_BESIDE = (".part", ".part.json", ".json", ".lock")


@dataclass(frozen=True)
class Entry:
    """What the index says of a file.

    ``ending``: of its name. ``size``: in bytes; 0 if it is not known yet. ``url``: where it comes from, for a person.
    """

    ending: str
    size: int
    url: str


class Store:
    """The folder, of which all models together may have ``limit`` bytes. Any thread may use it."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self._limit = folder, limit
        self._lock = threading.Lock()
        self._idle: dict[str, Lease] = {}

    def file(self, key: str, ending: str) -> Path:
        """Where a file is kept."""
        return self.folder / "files" / key / f"{_NAME}{ending}"

    def has(self, key: str, ending: str) -> bool:
        """Whether a file is there as it was fetched."""
        return read_record(self.file(key, ending)) is not None

    def lease(self, key: str) -> Lease:
        """Keep a file from being removed, also one that is not there yet.

        Raises:
            OSError: the folder cannot be written, or has no locks.
        """
        return Lease.shared(self._lease_path(key))

    def used(self, key: str) -> None:
        """Note that a file is used now."""
        with contextlib.suppress(OSError):
            os.utime(self._index_path(key))

    def unused(self, key: str, lease: Lease) -> None:
        """A job has ended that used a file. While this process still has it open, its lease goes on.

        Some network file systems would end a process that reads on in a file which another machine has removed.
        """
        with self._lock:
            if key in self._idle:
                lease.end()
            else:
                self._idle[key] = lease
        self.end_idle_leases()

    def end_idle_leases(self) -> None:
        """Give back the leases of files that this process no longer has open."""
        with self._lock:
            open_ones = keys_in_use(self.folder / "files") if self._idle else frozenset()
            for key in [key for key in self._idle if key not in open_ones]:
                self._idle.pop(key).end()

    def make_room(self, key: str, entry: Entry, check: Callable[[], None]) -> None:
        """Note in the index that a file is being fetched. If there is no room for it, others are removed.

        Those that were used least recently go first, and none that any worker has a lease on. If there were not enough
        of these, none is removed.

        Args:
            key: the file's. Its lease is held.
            entry: what is known of it.
            check: called while another process holds the index; it may raise.

        Raises:
            FetchFailed: there is no room.
            OSError: the folder cannot be written.
        """
        if entry.size > self._limit:
            raise FetchFailed(
                f"it has {size_text(entry.size)}, and all models that jobs bring may have "
                f"{size_text(self._limit)} (MODEL_CACHE_GB)"
            )
        with locked(self.folder / "index", check):
            others = [(each, *found) for each in self._keys() if each != key if (found := self._entry(each))]
            taken = sum(max(other.size, on_disk) for _, other, on_disk, _ in others)
            missing = max(0, entry.size - left_over(self.file(key, entry.ending)))
            too_much = taken + entry.size - self._limit
            too_full = missing + _SPARE - shutil.disk_usage(self.folder).free
            self._remove_oldest(others, too_much, too_full)
            write_json(self._index_path(key), asdict(entry))

    def forget(self, key: str, ending: str) -> None:
        """Remove what an attempt has left, unless it is a part that the next one can use, or anybody has a lease."""
        with contextlib.suppress(OSError):
            if left_over(self.file(key, ending)) and not self.file(key, ending).exists():
                return
            lease = Lease.exclusive(self._lease_path(key))
            if lease is not None:
                self._remove(key, ending, lease)

    def _remove_oldest(self, others: list[tuple[str, Entry, int, float]], too_much: int, too_full: int) -> None:
        chosen: list[tuple[str, Entry, Lease]] = []
        for key, entry, on_disk, _ in sorted(others, key=lambda other: other[-1]):
            if too_much <= 0 and too_full <= 0:
                break
            lease = self._exclusive(key)
            if lease is not None:
                chosen.append((key, entry, lease))
                too_much -= max(entry.size, on_disk)
                too_full -= on_disk
        if too_much <= 0 and too_full <= 0:
            for key, entry, lease in chosen:
                self._remove(key, entry.ending, lease)
            return
        for _, _, lease in chosen:
            lease.end()
        if too_much > 0:
            raise FetchFailed(
                f"there is no room for it among the models that jobs bring: they may have {size_text(self._limit)} "
                "(MODEL_CACHE_GB), and workers use what is there"
            )
        raise FetchFailed("there is no room for it on the worker's disk")

    def _exclusive(self, key: str) -> Lease | None:
        """A lease on a file that may be removed. This process may have it open: its own disk keeps it until then."""
        with self._lock:
            idle = self._idle.pop(key, None)
            if idle is not None:
                idle.end()
        return Lease.exclusive(self._lease_path(key))

    def _remove(self, key: str, ending: str, lease: Lease) -> None:
        file = self.file(key, ending)
        for path in (file, *(beside(file, each) for each in _BESIDE)):
            path.unlink(missing_ok=True)
        for folder in (beside(file, "").parent, file.parent):
            with contextlib.suppress(OSError):  # It is not there, or somebody has put something else into it.
                folder.rmdir()
        self._index_path(key).unlink(missing_ok=True)
        lease.end(remove=True)

    def _keys(self) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError):
            yield from sorted(path.stem for path in (self.folder / "index").glob("*.json"))

    def _entry(self, key: str) -> tuple[Entry, int, float] | None:
        """What the index says of a file, its bytes on the disk, and when it was used; None if it is no entry."""
        path = self._index_path(key)
        try:
            entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
            file = self.file(key, str(entry.ending))
            if file.parent.parent != self.folder / "files" or not isinstance(entry.size, int):
                return None
            return entry, _size(file) + left_over(file), path.stat().st_mtime
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def _index_path(self, key: str) -> Path:
        return self.folder / "index" / f"{key}.json"

    def _lease_path(self, key: str) -> Path:
        return self.folder / "leases" / key


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
