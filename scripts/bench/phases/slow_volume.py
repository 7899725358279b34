"""Measures how long a worker waits for models: on a volume that answers slowly, and on this machine's disk.

Each is compared with ``MODEL_READAHEAD=off``, in fresh processes, in turn. No file is in the page cache at first.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from graphs import decoded
from slow_volume import NoFuse, slow_volume

from bench.contenders.contender import Contender
from bench.contenders.setup import EMBEDDED
from bench.plan import Plan
from bench.workload.models import LARGE, make_models

ON, OFF = "auto", "off"
SLOW, LATER = "start-slow-volume", "later-slow-volume"
LOCAL, LOCAL_LATER = "start-local-disk", "later-local-disk"


@dataclass
class Waits:
    """The seconds of each lane (``SLOW``, ``LATER``, ``LOCAL``, ``LOCAL_LATER``), by ``ON`` and ``OFF``, by turn."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, lane: str, mode: str, seconds: float) -> None:
        """Add one measurement."""
        self.seconds.setdefault(lane, {ON: [], OFF: []})[mode].append(seconds)

    def pairs(self) -> Iterator[tuple[str, dict[str, list[float]]]]:
        """Each lane with its turns in which both were measured."""
        for lane, modes in self.seconds.items():
            count = min(map(len, modes.values()))  # One may have failed.
            if count:
                yield lane, {mode: seconds[:count] for mode, seconds in modes.items()}


def measure_slow_volume(plan: Plan, names: tuple[str, str] = LARGE) -> Iterator[Waits]:
    """The measurements so far, after each turn. ``names``: a checkpoint for the warm-up, and one for a later job."""
    waits, volume = Waits(), plan.setup.folder / "volume"
    plan.progress.begin("making models for the volume", 1)
    make_models(volume / "models", names)
    plan.progress.begin("starts with models on a volume", plan.counts.starts * 4)
    for turn in range(plan.counts.starts):
        for lanes, place in (((SLOW, LATER), _slow), ((LOCAL, LOCAL_LATER), _local)):
            for mode in (ON, OFF) if turn % 2 else (OFF, ON):
                try:
                    with place(volume) as path:
                        action = partial(_measured, plan, path, mode, names)
                        found = plan.attempt(lanes[0], f"{EMBEDDED}, MODEL_READAHEAD={mode}", action)
                except NoFuse as error:
                    plan.progress.tell(f"{lanes[0]} is left out: {error}")
                else:
                    for lane, seconds in zip(lanes, found or (), strict=False):
                        waits.add(lane, mode, seconds)
                plan.progress.advance()
        yield waits


def _measured(plan: Plan, volume: Path, mode: str, names: tuple[str, str]) -> tuple[float, float]:
    """Seconds until a worker has warmed up with the first model, and of a job that then names the second one."""
    first, second = ({"workflow": decoded(Path(name).name)} for name in names)
    warm_up = plan.setup.folder / "warm_up.json"
    warm_up.write_text(json.dumps(first))
    variables = {"NETWORK_VOLUME_PATH": str(volume), "WARMUP_WORKFLOW": str(warm_up), "MODEL_READAHEAD": mode}
    with Contender(EMBEDDED, plan.setup, **variables) as contender:
        ready = sum(contender.start().steps.values())
        return ready, contender.run(second).ms / 1000


@contextlib.contextmanager
def _slow(volume: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch, slow_volume(volume, Path(scratch)) as mounted:
        yield mounted.path


@contextlib.contextmanager
def _local(volume: Path) -> Iterator[Path]:
    for path in volume.rglob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)  # Pages that are not written yet would stay.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    yield volume
