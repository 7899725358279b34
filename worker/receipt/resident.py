"""Measures how much of the host's memory this process has while a job runs."""

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
    """The most bytes that the process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if resource is not None else 0


class PeakMemory:
    """The most memory that the process had during one job.

    It is exact if the process never had more before. Otherwise it is the most that was seen where a node begins.
    """

    def __init__(self) -> None:
        self._before = _highest()
        self._seen = 0

    def look(self) -> None:
        """Look at the memory now."""
        self._seen = max(self._seen, resident())

    @property
    def peak(self) -> int:
        """Bytes; 0 if no node ran."""
        highest = _highest()
        return highest if highest > self._before else self._seen
