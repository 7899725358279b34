"""Leases: while a process has one, no other process removes the file. They end with the process, however that ends.

A lease is a shared ``flock`` on a small file. Who wants to remove something asks for an exclusive one.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Lease:
    """A lock on ``path``, a file that is made and never written. Use ``shared`` or ``exclusive`` to get one."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def shared(cls, path: Path) -> Lease:
        """A lease that several processes can have. It waits while another one removes the file.

        Raises:
            OSError: the file system is full, not there, or has no locks.
        """
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if _is_still(path, descriptor):
                    return cls(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # Its file was removed while this waited, so the lock holds nobody off.

    @classmethod
    def exclusive(cls, path: Path) -> Lease | None:
        """A lease that only this one has; None if anybody has one.

        Raises:
            OSError: as ``shared``.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if not _is_still(path, descriptor):
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def end(self, *, remove: bool = False) -> None:
        """Give it back. ``remove``: also remove the file of the lock; only for an exclusive one."""
        if self._descriptor < 0:
            return
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
