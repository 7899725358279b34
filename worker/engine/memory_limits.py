"""Finds out how much memory the container has, and how much of it a job and the process may take."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from worker.settings import Settings

_JOB_SHARE = 0.5
_PROCESS_SHARE = 0.9
_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_OF_PROCESS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class MemoryLimits:
    """Numbers of bytes; 0: no limit.

    Attributes:
        container: what all processes of the container may take.
        job: what one job may add to the process.
        process: what the process may take for its data while a job runs. Mapped files do not count, since the kernel
            can drop them.
        between_jobs: resident memory, mapped files included, above which models and caches are freed between jobs. It
            is an operator's own number. If it is 0, ``process`` is the limit.
    """

    container: int = 0
    job: int = 0
    process: int = 0
    between_jobs: int = 0

    @classmethod
    def of(cls, settings: Settings) -> MemoryLimits:
        """The limits that ``settings`` set for this container."""
        container = container_memory()
        job = container * _JOB_SHARE if settings.max_job_mb == "auto" else settings.max_job_mb * 1e6
        is_auto = settings.max_rss_mb == "auto"
        between_jobs = 0 if settings.max_rss_mb == "auto" else int(settings.max_rss_mb * 1e6)
        process = container * _PROCESS_SHARE if is_auto or between_jobs else 0
        return cls(container, int(job), int(process), between_jobs)


@functools.cache
def container_memory() -> int:
    """Bytes of memory that this container may use: what its control groups allow, at most what the machine has."""
    return min([psutil.virtual_memory().total, *_cgroup_limits()])


def free_memory() -> int:
    """Bytes of memory that this container can still take. Pages of files count as free, since the kernel drops them."""
    return max(0, min([psutil.virtual_memory().available, *_cgroup_rests()]))


def _cgroup_limits() -> Iterator[int]:
    return (limit for _, limit in _limited_groups())


def _cgroup_rests() -> Iterator[int]:
    for folder, limit in _limited_groups():
        is_one_hierarchy = (folder / "memory.current").exists()
        prefix, used = ("", "memory.current") if is_one_hierarchy else ("total_", "memory.usage_in_bytes")
        files = (f"{prefix}active_file", f"{prefix}inactive_file")
        try:
            taken = int((folder / used).read_text())
            lines = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # It is hidden, such as the groups of the machine.
            continue
        yield limit - taken + sum(int(value) for name, value in lines if name in files)


def _limited_groups() -> Iterator[tuple[Path, int]]:
    """The process's control groups and all groups around them that have a limit: the folder, and the limit in bytes."""
    try:
        lines = _CGROUP_OF_PROCESS.read_text().splitlines()
    except OSError:  # This is no Linux.
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:  # Version 2 of control groups has one hierarchy, which has no name.
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container, the group's path may be that of the machine, and only the root exists.
        inside = PurePosixPath(group.lstrip("/"))
        for folder in dict.fromkeys((inside, *inside.parents, PurePosixPath())):
            try:
                text = (root / folder / name).read_text().strip()
            except OSError:
                continue
            if text.isdecimal():  # Otherwise it is "max".
                yield root / folder, int(text)
