"""Reads how much memory this process has, and lets the kernel refuse it more."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import psutil

try:
    import resource
except ImportError:  # This is no Unix.
    resource = None  # type: ignore[assignment]

_log = logging.getLogger("worker")
_M_MMAP_THRESHOLD, _M_MMAP_MAX = -3, -4  # Of mallopt.
_MOST_MAPS = 30_000  # The kernel gives a process some 65,000.
_PROBE = 256_000_000  # Of address space only.
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True, slots=True)
class Reading:
    """Numbers of bytes. ``resident``: what is in memory.

    ``anonymous``: the same without mapped files, which the kernel can drop. ``data``: what is reserved for data, as
    ``RLIMIT_DATA`` counts it. ``files``: what the files take that are in memory beside the worker's.
    """

    resident: int = 0
    anonymous: int = 0
    data: int = 0
    files: int = 0

    @property
    def used(self) -> int:
        """What nobody else can have."""
        return self.anonymous + self.files


class ProcessMemory:
    """The memory of this process.

    Args:
        state: the worker's folder. If it is in memory (a tmpfs), the files there take memory as well.

    Attributes:
        holds_files: whether a file that a node saves takes memory.
    """

    def __init__(self, state: Path) -> None:
        self._files = str(state) if _is_in_memory(state) else None
        self.holds_files = self._files is not None
        self._statm = -1
        with contextlib.suppress(OSError):  # This is no Linux.
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._before = resource.getrlimit(resource.RLIMIT_DATA) if resource is not None else (-1, -1)
        self.can_limit = self._try_limit()
        if not self.can_limit:
            _log.warning("MAX_JOB_MB: the kernel refuses no memory here, so jobs are only watched")

    def read(self) -> Reading:
        """The process's memory now."""
        if self._statm < 0:
            resident = int(psutil.Process().memory_info().rss)
            return Reading(resident, resident, resident)
        words = os.pread(self._statm, 128, 0).split()
        resident = int(words[1])
        files = 0
        if self._files is not None:
            found = os.statvfs(self._files)
            files = (found.f_blocks - found.f_bfree) * found.f_frsize
        return Reading(resident * _PAGE, (resident - int(words[2])) * _PAGE, int(words[5]) * _PAGE, files)

    def limit(self, data: int) -> None:
        """Let the kernel refuse all that would make the process's data larger than so many bytes."""
        if self.can_limit:
            self._set(data)

    def _set(self, data: int) -> None:
        soft, hard = self._before
        for bound in (soft, hard):
            data = data if bound == resource.RLIM_INFINITY else min(data, bound)
        resource.setrlimit(resource.RLIMIT_DATA, (data, hard))

    def lift(self) -> None:
        """End the limit."""
        if self.can_limit:
            resource.setrlimit(resource.RLIMIT_DATA, self._before)

    @staticmethod
    def trim() -> None:
        """Let the allocator give back what it can."""
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

    @staticmethod
    def return_what_is_freed(size: int) -> None:
        """Let the allocator ask the kernel for each piece of ``size`` bytes or more, and return it when it is freed.

        Otherwise a freed piece leaves a hole. The next job could fill it, and the kernel would not notice.
        """
        with contextlib.suppress(OSError, AttributeError):  # Another allocator.
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_MAX, _MOST_MAPS)
            libc.mallopt(_M_MMAP_THRESHOLD, size)

    def _try_limit(self) -> bool:
        """Whether the kernel refuses what is above a limit. Some container runtimes take the limit, and do nothing."""
        if self._statm < 0 or resource is None:
            return False
        try:
            self._set(self.read().data + _PROBE)
            mmap.mmap(-1, 4 * _PROBE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        except (OSError, MemoryError):
            works = True
        except ValueError:  # The limit cannot be set.
            works = False
        else:
            works = False
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, self._before)
        return works


def _is_in_memory(folder: Path) -> bool:
    """Whether ``folder`` is in a tmpfs."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return False
    inside = [(Path(place), kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return bool(inside) and max(inside, key=lambda mount: len(mount[0].parts))[1] == "tmpfs"
