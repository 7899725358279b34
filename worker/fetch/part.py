"""The part of a file that has arrived. It outlives a killed process, so that the next one goes on where it ended."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from worker.errors import FetchFailed
from worker.fetch.records import beside, write_json

_POLL_S = 0.2


class Part:
    """The bytes of ``target`` so far. Use it within ``locked``.

    Attributes:
        size: the bytes that are there.
        validator: what the server said about the version of these bytes, for ``If-Range``; empty if nothing.
    """

    def __init__(self, target: Path, source: str) -> None:
        self._target, self._source = target, source
        self.path, self._about = beside(target, ".part"), beside(target, ".part.json")
        self.size, self.validator = 0, ""
        self._digest = hashlib.sha256()
        self._file = -1

    @contextlib.contextmanager
    def opened(self, on_bytes: Callable[[int], None]) -> Iterator[None]:
        """Open the part, and read what an earlier process has left: ``on_bytes`` gets its bytes.

        Raises:
            OSError: it cannot be written.
        """
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            self._read_left_over(on_bytes)
            yield
        finally:
            os.close(self._file)

    def begin(self, validator: str) -> None:
        """Begin anew. ``validator``: of the version that now comes.

        Raises:
            OSError: it cannot be written.
        """
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self.size, self.validator, self._digest = 0, validator, hashlib.sha256()
        write_json(self._about, {"source": self._source, "validator": validator})

    def add(self, piece: bytes) -> None:
        """Append ``piece``.

        Raises:
            OSError: it cannot be written.
        """
        view = memoryview(piece)
        while view:
            view = view[os.write(self._file, view) :]
        self._digest.update(piece)
        self.size += len(piece)

    @property
    def sha256(self) -> str:
        """Of the bytes so far."""
        return self._digest.hexdigest()

    def finish(self) -> None:
        """Make the part the file itself, when all of it is on the disk.

        Raises:
            FetchFailed: a file of this name has come from elsewhere.
            OSError: it cannot be written.
        """
        os.fsync(self._file)
        _move(self.path, self._target)
        for path in (self._target.parent, self.path.parent):
            _sync(path)
        self._about.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove it: its bytes are of no use."""
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def _read_left_over(self, on_bytes: Callable[[int], None]) -> None:
        try:
            about = json.loads(self._about.read_text(encoding="utf-8"))
            is_same, self.validator = about["source"] == self._source, str(about["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            is_same = False
        if not is_same:
            self.validator = ""
            os.ftruncate(self._file, 0)
            return
        while piece := os.read(self._file, 4 << 20):
            self._digest.update(piece)
            self.size += len(piece)
            on_bytes(len(piece))


def left_over(target: Path) -> int:
    """The bytes of ``target`` that an earlier process has left."""
    try:
        return beside(target, ".part").stat().st_size
    except OSError:
        return 0


@contextlib.contextmanager
def locked(target: Path, check: Callable[[], None]) -> Iterator[None]:
    """Be the only one, of all processes on the disk, who fetches ``target``. Waits while another one does.

    ``check``: called five times a second while it waits; it may raise.

    Raises:
        OSError: the folder cannot be written.
    """
    beside(target, "").parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(beside(target, ".lock"))
    while True:
        check()
        try:
            lock.acquire(timeout=_POLL_S, poll_interval=_POLL_S)
        except Timeout:
            continue
        break
    try:
        yield
    finally:
        lock.release()


def _move(part: Path, target: Path) -> None:
    """Rename ``part``, unless there is a ``target``."""
    try:
        os.link(part, target)  # Unlike a rename, this replaces nothing.
    except FileExistsError:
        raise FetchFailed("a file of this name has come from elsewhere meanwhile, and stays") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES):
            raise
        if os.path.lexists(target):
            raise FetchFailed("a file of this name has come from elsewhere meanwhile, and stays") from None
        part.rename(target)
    else:
        part.unlink()


def _sync(folder: Path) -> None:
    """Write the folder's entries to the disk, if its file system does that."""
    with contextlib.suppress(OSError):
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
