"""Looks for a run's signs of life in this process: events, computation, transfers, waits for the disk or network."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from worker.process_began import process_began

_EVERY_S = 1.0
_SERVES_S = 0.05
_TICK_S = 0.02  # The kernel tells the age of a process in steps.
_CPU_SHARE = 0.1  # Of one processor. A process that waits for its next job uses less.
_MIN_BYTES = 1_000_000  # Per second. Log lines alone are less than that.
# Numbers of system calls that wait for one socket, and of those that wait for several.
_ON_SOCKET, _ON_SEVERAL = {
    "x86_64": ({0, 1, 20, 42, 43, 44, 45, 46, 47}, {7, 23, 232, 270, 271, 281}),
    "aarch64": ({63, 64, 66, 202, 203, 206, 207, 211, 212}, {22, 72, 73}),
}.get(platform.machine(), (set(), set()))
_TASKS, _FILES = Path("/proc/self/task"), Path("/proc/self/fd")


class Activity:
    """Whether the current run has shown a sign of life since the last look.

    Args:
        thread_id: returns the native id of the thread that performs the run.
        gpu_is_busy: returns whether the device computes.
    """

    def __init__(self, thread_id: Callable[[], int | None], gpu_is_busy: Callable[[], bool] = lambda: False) -> None:
        self._thread_id, self._gpu_is_busy = thread_id, gpu_is_busy
        self._process = psutil.Process()
        self._event = self._is_new = False
        self._looked = 0.0
        self._cpu_s, self._bytes = 0.0, 0
        self._began = self._listed = 0.0
        self._old_files: list[str] = []
        self._old_sockets: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Begin to watch a run. Only names are taken: what costs more waits for the first look, which most runs do not
        live to see. Where short runs follow each other, one list of names serves several.
        """
        self._began = time.clock_gettime(time.CLOCK_BOOTTIME)
        if self._began - self._listed > _SERVES_S:
            self._old_files, self._listed = _names(_FILES), self._began
        self._is_new = True  # Last: the watchdog's thread may look at any time, and would take stock of too little.

    def _take_stock(self) -> None:
        """Sockets that existed when the run began do not belong to it."""
        self._old_sockets = frozenset(_sockets(self._old_files))
        self._looked, self._cpu_s, self._bytes, self._event = time.monotonic(), self._cpu(), self._io(), False

    def event(self) -> None:
        """Note that the run has reported something."""
        self._event = True

    def moves(self) -> bool:
        """Whether there was a sign of life since the last call. The slow checks are made once a second."""
        if self._is_new:
            self._is_new = False
            self._take_stock()
            return True
        moved, self._event = self._event, False
        now = time.monotonic()
        if moved or now - self._looked < _EVERY_S:
            return moved
        seconds, self._looked = now - self._looked, now
        cpu_s, self._cpu_s = self._cpu_s, self._cpu()
        count, self._bytes = self._bytes, self._io()
        computed = self._cpu_s - cpu_s > _CPU_SHARE * seconds
        transferred = self._bytes - count > _MIN_BYTES * seconds
        return computed or transferred or self._waits() or self._gpu_is_busy()

    def has_helpers(self) -> bool:
        """Whether the run has a socket or a process, which may bring what it waits for."""
        if self._has_sockets():
            return True
        with contextlib.suppress(psutil.Error):
            return any(self._is_of_run(child.pid) for child in self._process.children(recursive=True))
        return False

    def _is_of_run(self, task: int) -> bool:
        """Whether a process or a thread was started during the run."""
        return process_began(task) >= self._began - _TICK_S

    def _cpu(self) -> float:
        """Seconds of computation of this process and its children."""
        total = 0.0
        with contextlib.suppress(psutil.Error):
            for process in (self._process, *self._process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    total += times.user + times.system
        return total

    def _io(self) -> int:
        try:
            counters = self._process.io_counters()
        except (psutil.Error, OSError, NotImplementedError):
            return 0
        return int(counters.read_chars + counters.write_chars + counters.read_bytes)

    def _waits(self) -> bool:
        """Whether the run's thread, or a thread that was started during the run, waits for the disk or a socket."""
        mine = [str(self._thread_id()), *(task for task in _names(_TASKS) if self._is_of_run(int(task)))]
        return any(_in_disk_wait(task) or self._on_network(task) for task in mine)

    def _on_network(self, task: str) -> bool:
        try:
            words = (_TASKS / task / "syscall").read_text().split()
            number = int(words[0])
        except (OSError, ValueError, IndexError):
            return False  # The thread is running, has ended, or may not be examined.
        if number in _ON_SOCKET and len(words) > 1:
            return _is_socket(str(int(words[1], 16)))
        return number in _ON_SEVERAL and self._has_sockets()

    def _has_sockets(self) -> bool:
        return not self._old_sockets.issuperset(_sockets(_names(_FILES)))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - only names are needed.
    except OSError:
        return []


def _is_socket(descriptor: str) -> bool:
    try:
        return str((_FILES / descriptor).readlink()).startswith("socket:")
    except OSError:
        return False


def _sockets(descriptors: Iterable[str]) -> list[str]:
    """Those of the open files that are sockets, by their inodes."""
    found = []
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            target = str((_FILES / descriptor).readlink())
            if target.startswith("socket:"):
                found.append(target)
    return found


def _in_disk_wait(task: str) -> bool:
    try:
        status = (_TASKS / task / "stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] == "D"
