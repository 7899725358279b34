"""Asks the kernel which parts of a file are in the page cache, and reads the others into it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterator

PIECE_BYTES = 4 << 20
_MAP_SHARED, _PROT_NONE = 1, 0
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_FAILED = ctypes.c_void_p(-1).value


def missing_pieces(descriptor: int, size: int) -> list[int]:
    """Where those pieces of a file begin that are not in the page cache as a whole. ``size``: the file's, in bytes."""
    every = range(0, size, PIECE_BYTES)
    if not size or not _may_ask(descriptor):
        return list(every)
    address = _libc.mmap(None, size, _PROT_NONE, _MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        return list(every)
    pages = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))  # One byte a page: 1 if it is there, else 0.
    failed = _libc.mincore(address, size, pages)
    _libc.munmap(address, size)
    if failed:
        return list(every)
    there, in_piece = memoryview(pages).tobytes(), PIECE_BYTES // mmap.PAGESIZE
    return [at for at in every if there.find(b"\0", first := at // mmap.PAGESIZE, first + in_piece) >= 0]


def _may_ask(descriptor: int) -> bool:
    """Whether the kernel tells this user. To others it says that all pages are there."""
    user = os.geteuid()
    return user in (0, os.fstat(descriptor).st_uid) or os.access(f"/proc/self/fd/{descriptor}", os.W_OK)


class FileReader:
    """Reads pieces of files into the page cache, on one thread. It keeps the last file open.

    The kernel hands the pages to ``/dev/null``: nothing is copied, Python's lock is free meanwhile, and this process
    needs no memory for it. ``posix_fadvise`` and ``readahead`` would not do: they return at once, and on network file
    systems the kernel drops most of what it was asked for.
    """

    def __init__(self) -> None:
        self._path, self._file, self._nowhere = "", -1, -1

    def read(self, path: str, offset: int, length: int) -> int:
        """Read a piece. Returns how many bytes the file had there.

        Raises:
            OSError: the file cannot be read so.
        """
        if self._nowhere < 0:
            self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        if path != self._path:
            self._close_file()
            self._file, self._path = open_file(path), path
        done = 0
        while done < length:
            count = os.sendfile(self._nowhere, self._file, offset + done, length - done)
            if not count:  # The file has become shorter.
                break
            done += count
        return done

    def close(self) -> None:
        """Close its files."""
        self._close_file()
        if self._nowhere >= 0:
            os.close(self._nowhere)

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._path, self._file = "", -1


def open_file(path: str) -> int:
    """A descriptor for reading ``path``. A pipe does not make this wait."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """``open_file`` for a ``with`` block."""
    descriptor = open_file(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
