"""Measures how much of the host's memory this process has while a job's graph runs."""

from __future__ import annotations

import functools
import os

try:
    import resource
except ImportError:  # This is no Unix.
    resource = None  # type: ignore[assignment]

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@functools.cache
def _statm() -> int:
    """The file that tells the process's memory, opened; -1 if the system has none."""
    try:
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # This is no Linux.
        return -1


def resident() -> int:
    """Bytes of the process that are in memory now; 0 if the system does not tell."""
    statm = _statm()
    return int(os.pread(statm, 128, 0).split(None, 2)[1]) * _PAGE if statm >= 0 else 0


def _highest() -> int:
    """The most bytes that the process had in memory since the last ``_forget_highest``, or since its begin."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if resource is not None else 0


def _forget_highest() -> bool:
    """Let the kernel measure the highest anew. False: it does not. This looks at no page, and takes a microsecond."""
    try:
        with open("/proc/self/clear_refs", "wb", buffering=0) as file:  # noqa: PTH123 - ``Path`` buffers.
            file.write(b"5")
    except OSError:  # This is no Linux, or a sandbox that does not let the process.
        return False
    return resource is not None


class PeakMemory:
    """The most memory that the process had while one job's graph ran.

    Where the kernel does not measure it anew for each job, it is the most that was seen when a node began.

    Attributes:
        peak: bytes; 0 before the graph has begun.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._is_exact = False

    def begin(self) -> None:
        """Begin to measure."""
        self._is_exact = _forget_highest()
        self.look()

    def look(self) -> None:
        """Look at the memory now."""
        self.peak = max(self.peak, _highest() if self._is_exact else resident())
