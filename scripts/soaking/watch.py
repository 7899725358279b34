"""Measures what the worker's process holds: samples it on a thread all the time, and measures it at rest."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_INTERVAL_S = 0.25
_SETTLE_S, _SAMPLES, _BETWEEN_S = 1.0, 5, 0.1


@dataclass(frozen=True)
class Sample:
    """One moment. ``at``: seconds since the soak began. ``rss``: in MB of 10⁶ bytes. ``pings``: heartbeats so far."""

    at: float
    rss: float
    files: int
    threads: int
    pings: int


@dataclass(frozen=True)
class Rest:
    """The process after ``job`` jobs, with nothing to do.

    Attributes:
        at: seconds since the soak began.
        rss: in MB of 10⁶ bytes.
        files: number of open files, without ``connections``.
        connections: number of open connections, by the name of the server.
        entries: number of files and folders in its state folder and its temporary folder.
        open: how often each file is open, by its path.
        names: paths of the files and folders that ``entries`` counts.
    """

    job: int
    at: float
    rss: float
    files: int
    connections: Counter[str]
    threads: int
    entries: int
    open: Counter[str] = field(repr=False)
    names: frozenset[str] = field(repr=False)


class Watch:
    """Samples the process ``pid`` within its ``with`` block.

    Args:
        pid: the worker's process. The heartbeat, a process of its own, is not included.
        folder: the folder for all that the worker writes.
        ports: names of the servers that it keeps connections to, by their ports.
        pings: returns how many heartbeats have come.
    """

    def __init__(self, pid: int, folder: Path, ports: Mapping[int | None, str], pings: Callable[[], int]) -> None:
        self._process = psutil.Process(pid)
        self._folder = folder
        self._ports = ports
        self._pings = pings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.began = time.monotonic()
        self.samples: list[Sample] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def rest(self, job: int) -> Rest:
        """Wait a second, then measure. RSS is the median of five samples."""
        time.sleep(_SETTLE_S)
        samples = []
        for _ in range(_SAMPLES):
            samples.append(self._sample())
            time.sleep(_BETWEEN_S)
        rss = statistics.median(sample.rss for sample in samples)
        names = frozenset(str(path.relative_to(self._folder)) for path in self._folder.rglob("*"))
        last = samples[-1]
        connections, opened = self._connections(), self._open()
        files = opened.total() - connections.total()
        return Rest(job, last.at, rss, files, connections, last.threads, len(names), opened, names)

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            try:
                self.samples.append(self._sample())
            except psutil.Error:  # The process has ended.
                return

    def _sample(self) -> Sample:
        with self._process.oneshot():
            rss, threads = self._process.memory_info().rss / 1e6, self._process.num_threads()
        return Sample(time.monotonic() - self.began, rss, self._process.num_fds(), threads, self._pings())

    def _connections(self) -> Counter[str]:
        """The numbers of connections to the servers in ``ports``, by name."""
        remotes = [each.raddr.port for each in self._process.net_connections("tcp") if each.raddr]
        return Counter(self._ports[port] for port in remotes if port in self._ports)

    def _open(self) -> Counter[str]:
        """How often each file is open, by its path. Sockets and pipes are counted without their numbers."""
        found: Counter[str] = Counter()
        for link in Path(f"/proc/{self._process.pid}/fd").iterdir():
            try:
                found[str(link.readlink()).partition(":[")[0]] += 1
            except OSError:  # Closed meanwhile.
                continue
        return found


def longest_silence(samples: list[Sample]) -> float:
    """The longest time between two heartbeats, in seconds. It is as exact as the samples' interval."""
    beats = [samples[0].at]
    count = samples[0].pings
    for sample in samples:
        if sample.pings > count:
            count = sample.pings
            beats.append(sample.at)
    beats.append(samples[-1].at)
    return max(later - sooner for sooner, later in itertools.pairwise(beats))
