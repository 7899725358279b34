"""A read-only view of a folder in which every read waits, as a network volume answers. It needs ``/dev/fuse``.

It speaks FUSE's own protocol, so that no library and no program is needed. The kernel asks for 128 KB at a time: at
5 ms a read, one reader gets some 40 MB/s, and sixteen readers together get six times as much.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 131_072
_IN, _OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_ATTRIBUTES, _ENTRY, _READ = struct.Struct("<6Q10I"), struct.Struct("<4Q2I"), struct.Struct("<QQI")
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ_FILE, _RELEASE, _FLUSH, _INIT = 1, 2, 3, 14, 15, 18, 25, 26
_OPENDIR, _READDIR, _RELEASEDIR, _INTERRUPT, _BATCH_FORGET = 27, 28, 29, 36, 42
_ASYNC_READ, _KEEP_CACHE, _READ_ONLY, _DETACH, _FOREVER_S = 1, 2, 1, 2, 3600
_THREADS = 48
_libc = ctypes.CDLL(None, use_errno=True)


class NoFuse(Exception):
    """There is no FUSE here. The text says why."""


@dataclass(frozen=True)
class SlowVolume:
    """A mounted view. ``path``: where it is mounted. ``log``: its file of reads."""

    path: Path
    log: Path

    def reads(self) -> list[tuple[str, int, int]]:
        """``(name, offset, size)`` of each read so far, as they came."""
        lines = (line.split(maxsplit=2) for line in self.log.read_text(encoding="utf-8").splitlines())
        return [(name.removeprefix("/"), int(offset), int(size)) for offset, size, name in lines]


@contextlib.contextmanager
def slow_volume(source: Path, scratch: Path, latency_s: float = 0.005) -> Iterator[SlowVolume]:
    """Mount a slow view of ``source`` below ``scratch``, anew each time, so that nothing of it is in the page cache.

    Raises:
        NoFuse: this machine or user cannot mount it.
    """
    volume = SlowVolume(scratch / "volume", scratch / "reads.log")
    volume.path.mkdir(parents=True, exist_ok=True)
    volume.log.write_bytes(b"")
    arguments = [str(source), str(volume.path), str(latency_s), str(volume.log)]
    server = subprocess.Popen(
        [sys.executable, "-P", "-S", __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        answer = server.stdout.readline().strip()
        if answer != "mounted":
            raise NoFuse(answer or "the file system ended")
        yield volume
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()


class _View:
    """Answers the kernel. Numbers of nodes are positions in ``paths``, below ``root``."""

    def __init__(self, device: int, root: str, latency_s: float, log: int) -> None:
        self._device, self._root, self._latency_s, self._log = device, root, latency_s, log
        self._paths, self._numbers, self._lock = ["", ""], {"": 1}, threading.Lock()

    def serve(self) -> None:
        """Answer requests until the view is unmounted."""
        while True:
            try:
                request = os.read(self._device, READ_BYTES)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):  # A reader has gone.
                    continue
                return
            _, code, unique, node, *_ = _IN.unpack_from(request)
            if code in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            try:
                body, failed = self._answer(code, node, request[_IN.size :]), 0
            except OSError as error:
                body, failed = b"", -(error.errno or errno.EIO)
            with contextlib.suppress(OSError):  # A reader has gone.
                os.writev(self._device, [_OUT.pack(_OUT.size + len(body), failed, unique), body])

    def _answer(self, code: int, node: int, body: bytes) -> bytes:
        path = self._root + self._paths[node]
        if code == _INIT:
            major, minor, *_ = struct.unpack_from("<II", body)
            return struct.pack(
                "<4I2H2I2H", major, min(minor, 31), READ_BYTES, _ASYNC_READ, 0, 0, 4096, 1, 0, 0
            ) + bytes(32)
        if code == _LOOKUP:
            name = self._paths[node] + "/" + os.fsdecode(body.rstrip(b"\0"))
            found = Path(self._root + name).stat()
            return _ENTRY.pack(self._number(name), 0, _FOREVER_S, _FOREVER_S, 0, 0) + _attributes(found)
        if code == _GETATTR:
            return struct.pack("<QII", _FOREVER_S, 0, 0) + _attributes(Path(path).stat())
        if code == _OPEN:
            return struct.pack("<QII", os.open(path, os.O_RDONLY), _KEEP_CACHE, 0)
        if code == _READ_FILE:
            handle, offset, size = _READ.unpack_from(body)
            os.write(self._log, os.fsencode(f"{offset} {size} {self._paths[node]}\n"))
            time.sleep(self._latency_s)
            return os.pread(handle, size, offset)
        if code == _RELEASE:
            os.close(_READ.unpack_from(body)[0])
        elif code == _READDIR:
            _, offset, size = _READ.unpack_from(body)
            return _entries(path, offset, size)
        elif code not in (_OPENDIR, _RELEASEDIR, _FLUSH):
            raise OSError(errno.ENOSYS, "")
        return bytes(16) if code == _OPENDIR else b""

    def _number(self, path: str) -> int:
        with self._lock:
            if path not in self._numbers:
                self._numbers[path] = len(self._paths)
                self._paths.append(path)
            return self._numbers[path]


def _attributes(found: os.stat_result) -> bytes:
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return _ATTRIBUTES.pack(
        found.st_ino, found.st_size, found.st_blocks, *(time // 10**9 for time in times),
        *(time % 10**9 for time in times), found.st_mode, found.st_nlink, found.st_uid, found.st_gid, 0, 4096, 0,
    )  # fmt: skip


def _entries(folder: str, offset: int, size: int) -> bytes:
    packed = b""
    for position, name in enumerate(
        [".", "..", *sorted(entry.name for entry in Path(folder).iterdir())][offset:], offset + 1
    ):
        kind = stat.S_IFMT((Path(folder) / name).stat().st_mode) >> 12
        raw = os.fsencode(name)
        entry = struct.pack("<QQII", position, position, len(raw), kind) + raw + bytes(-len(raw) % 8)
        if len(packed) + len(entry) > size:
            break
        packed += entry
    return packed


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _main(source: str, mountpoint: str, latency_s: str, log: str) -> None:
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        _say(f"/dev/fuse cannot be opened ({error.strerror})")
        return
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    if _libc.mount(b"slow", os.fsencode(mountpoint), b"fuse.slow", _READ_ONLY, options.encode()):
        _say(f"it cannot be mounted ({os.strerror(ctypes.get_errno())})")
        return
    view = _View(device, str(Path(source).absolute()), float(latency_s), os.open(log, os.O_WRONLY | os.O_APPEND))
    for _ in range(_THREADS):
        threading.Thread(target=view.serve, daemon=True).start()
    _say("mounted")
    sys.stdin.read()  # Until the test ends, in whatever way.
    _libc.umount2(os.fsencode(mountpoint), _DETACH)


if __name__ == "__main__":
    _main(*sys.argv[1:])
