"""Measures the memory of each contender's processes: idle after its start, and the peak while it runs the cases."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from bench.contenders.contender import Contender
from bench.phases.gpu import GpuUse, GpuWatch
from bench.phases.warm import run_case
from bench.plan import MEMORY, Plan
from bench.workload.cases import Case

_INTERVAL_S = 0.02
_SETTLE_S, _IDLE_S = 1.0, 1.0


@dataclass(frozen=True)
class Sample:
    """Memory of a contender's process trees, ``worker`` and ``server``, at one moment. In MB of 10⁶ bytes.

    If two processes share a page, RSS counts it twice, and PSS counts half of it for each.
    """

    rss: dict[str, float]
    pss: dict[str, float]


@dataclass(frozen=True)
class Memory:
    """A contender's memory in MB. ``peak_pss`` and ``peak_rss``: by process, at the moment when their sum was highest.

    ``gpu``: use of the whole device. ``gpu_before_mb``: memory in use there before the contender started.
    """

    idle_rss: float
    idle_pss: float
    peak_rss: dict[str, float]
    peak_pss: dict[str, float]
    gpu: GpuUse | None
    gpu_before_mb: float | None


def measure_memory(plan: Plan) -> Iterator[tuple[str, Memory]]:
    """Measure each contender by itself. A contender that cannot start is left out."""
    for name in plan.contenders:
        memory = plan.attempt(MEMORY, name, partial(_measured, plan, name))
        if memory:
            yield name, memory


def _measured(plan: Plan, name: str) -> Memory:
    plan.progress.begin(f"memory: {name}", len(plan.cases))
    with GpuWatch() as gpu, Contender(name, plan.setup) as contender:
        time.sleep(_SETTLE_S)
        before = gpu.use(0)
        contender.start()
        began = time.monotonic()
        with MemoryWatch(contender.pids()) as watch:
            time.sleep(_SETTLE_S + _IDLE_S)
            idle = watch.since(began + _SETTLE_S)
            began = time.monotonic()
            for case in plan.cases:
                plan.attempt(case.name, name, partial(_run_often, plan, contender, case))
                plan.progress.advance()
            busy = watch.since(began)
        return Memory(
            statistics.median(_total(sample.rss) for sample in idle),
            statistics.median(_total(sample.pss) for sample in idle),
            max((sample.rss for sample in busy), key=_total),
            max((sample.pss for sample in busy), key=_total),
            gpu.use(began),
            before.peak_mb if before else None,
        )


def _run_often(plan: Plan, contender: Contender, case: Case) -> None:
    numbers = itertools.count(1 + 1000 * plan.cases.index(case))
    for _ in range(plan.counts.memory_runs):
        run_case(contender, case, numbers)


def _total(sizes: Mapping[str, float]) -> float:
    return sum(sizes.values())


class MemoryWatch:
    """Samples processes and their children, on a thread, within its ``with`` block."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._samples: list[tuple[float, Sample]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def since(self, moment: float) -> list[Sample]:
        """The samples since ``moment``, by ``time.monotonic``, and a new one."""
        return [sample for at, sample in list(self._samples) if at >= moment] + [sample_memory(self._pids)]

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self._samples.append((time.monotonic(), sample_memory(self._pids)))


def sample_memory(pids: Mapping[str, int]) -> Sample:
    """The memory of the processes ``pids`` and of their children."""
    rss, pss = dict.fromkeys(pids, 0.0), dict.fromkeys(pids, 0.0)
    for role, pid in pids.items():
        for process in _tree(pid):
            sizes = _sizes(process.pid)
            rss[role] += sizes["Rss"]
            pss[role] += sizes["Pss"]
    return Sample(rss, pss)


def _sizes(pid: int) -> dict[str, float]:
    """``Rss`` and ``Pss`` of a process now, in MB; 0 if it has ended."""
    sizes = {"Rss": 0.0, "Pss": 0.0}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name in sizes:
                sizes[name] = int(rest.split()[0]) * 1024 / 1e6
    return sizes


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []
