"""What this process does to the file system, and what has changed there."""

# ruff: noqa: PTH100, PTH115, PTH118 - paths as the operating system gets them.

from __future__ import annotations

import ctypes
import os
import struct
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Events of Python's audit hooks: which of their arguments are paths that change, and what folder they are relative to.
_CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
}
_NEVER = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"})
Snapshot = dict[str, tuple[int, int, int]]


class AuditedFiles:
    """While ``active``, notes in ``offences`` each change outside of ``allowed`` and each look into ``secret``.

    It sees what Python does. What libraries in C write is seen by ``snapshot`` alone. A hook stays for good.
    """

    def __init__(self, allowed: Path, secret: Iterable[Path]) -> None:
        self.active = False
        self.offences: list[str] = []
        torch_s_cache = os.path.join(tempfile.gettempdir(), "torchinductor_")
        self._allowed = (os.path.realpath(allowed) + "/", "/dev/null", torch_s_cache)
        self._secret = frozenset(os.path.realpath(path) for path in secret)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open":
            self._opened(*args)
        elif event in _CHANGES:
            for path, folder in _CHANGES[event]:
                self._changed(event, args[path], -1 if folder is None else args[folder])
        elif event in _NEVER:
            self.offences.append(f"{event} {args!r:.300}")

    def _opened(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        if flags & _WRITES or (isinstance(mode, str) and set(mode) & set("wax+")):
            self._changed("open to write", path)
        elif os.path.realpath(os.fsdecode(path)) in self._secret:
            self.offences.append(f"read {path!r}")

    def _changed(self, event: str, path: Any, folder_fd: Any = -1) -> None:
        if isinstance(path, int) or b"\0" in os.fsencode(path):
            return
        start = os.readlink(f"/proc/self/fd/{folder_fd}") if isinstance(folder_fd, int) and folder_fd >= 0 else ""
        folder, name = os.path.split(os.path.abspath(os.path.join(start, os.fsdecode(path))))
        # Of a link that is removed, the link counts; of one that is written to, what it leads to.
        real = (
            os.path.realpath(os.path.join(folder, name))
            if event == "open to write"
            else os.path.join(os.path.realpath(folder), name)
        )
        if not real.startswith(self._allowed):
            self.offences.append(f"{event} {real!r}")


class OpenWatch:
    """Sees who opens ``files``, libraries in C among them, by Linux's inotify."""

    _IN_OPEN = 0x20

    def __init__(self, files: Iterable[Path]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._paths = {
            self._libc.inotify_add_watch(self._fd, os.fsencode(path), self._IN_OPEN): str(path) for path in files
        }
        assert self._fd >= 0
        assert -1 not in self._paths

    def opened(self) -> list[str]:
        """Which have been opened since the last call."""
        try:
            events = os.read(self._fd, 65536)
        except BlockingIOError:
            return []
        found, place = set(), 0
        while place < len(events):
            watch, _mask, _cookie, length = struct.unpack_from("iIII", events, place)
            found.add(self._paths[watch])
            place += struct.calcsize("iIII") + length
        return sorted(found)

    def close(self) -> None:
        os.close(self._fd)


def snapshot(folder: Path, leave_out: Iterable[str] = ()) -> Snapshot:
    """Size, time and inode of all below ``folder``, but for folders of the names in ``leave_out``."""
    left_out = frozenset(leave_out)
    found: Snapshot = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in left_out]
        for name in (".", *files):
            path = os.path.join(place, name)
            status = os.lstat(path)
            found[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Paths that are new, gone or changed."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
