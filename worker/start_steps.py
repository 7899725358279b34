"""``STEPS``: how long each step of this process's start took. A process starts ComfyUI once, so there is one record."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from worker.process_began import process_began

PACK = "pack "
"""What the step of a node pack begins with; its name follows."""
_NOTICEABLE_S = 0.005


class Steps:
    """The seconds of the steps of a start.

    Attributes:
        seconds: of each step, by its name, in their order. The seconds of a step within another one count only there.
        beside: of what ran beside the steps, on threads of its own.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.beside: dict[str, float] = {}
        self._began: float | None = None

    def begin_with_process(self) -> None:
        """Count from the process's own begin. Only for the command line: in a notebook the process is far older."""
        age = _age_s()
        self._began = time.perf_counter() - age
        self.add("interpreter", age)

    def add(self, name: str, seconds: float) -> None:
        """Count ``seconds`` for the step ``name``."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The block is the step ``name``, or a part of it."""
        start, others = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            within = sum(self.seconds.values()) - others
            self.add(name, time.perf_counter() - start - within)

    @contextmanager
    def import_as_step(self, name: str) -> Iterator[None]:
        """If the module ``name`` is imported for the first time in the block, this is a step of the same name."""
        finder = _TimingFinder(name, self)
        if name not in sys.modules:
            sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            if finder in sys.meta_path:
                sys.meta_path.remove(finder)

    def total(self) -> float | None:
        """Seconds since the process began; None if they are not counted."""
        return None if self._began is None else time.perf_counter() - self._began

    def shown(self, total: float) -> dict[str, float]:
        """The seconds of each step that took a noticeable time, and as ``rest`` what is left of ``total``."""
        shown = {name: seconds for name, seconds in self.seconds.items() if seconds >= _NOTICEABLE_S}
        return {**shown, "rest": max(0.0, total - sum(shown.values()))}


class _TimingFinder(MetaPathFinder):
    """Finds one module as Python does, and lets its first run be measured. Others may ask for its spec before that."""

    def __init__(self, name: str, steps: Steps) -> None:
        self._name, self._steps = name, steps
        self._is_asking = False

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        if fullname != self._name or self._is_asking:
            return None
        self._is_asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._is_asking = False
        if spec is not None and spec.loader is not None:
            self._measure(spec)
        return spec

    def _measure(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # The loader is as Python made it from here on.
            with self._steps.step(self._name):
                run(module)

        loader.exec_module = exec_module


def _age_s() -> float:
    """How old this process is, in seconds, to a hundredth; 0 if the system does not tell."""
    began = process_began(os.getpid())
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began) if began else 0.0


STEPS = Steps()
