"""Where the index of node packs lies."""

from __future__ import annotations

import os
from pathlib import Path

from worker.embedded.start.cache_folders import cache_folders
from worker.embedded.start.launch import Launch

TRIAL = "COMFY_WORKER_TRIAL_INDEX"
"""The variable with the folder of an index that is not complete. `index` sets it for its second process."""


def index_folders(launch: Launch) -> tuple[Path, ...]:
    """On the network volume with its packs, for all workers that have it; otherwise with the worker or its user."""
    if trial := os.environ.get(TRIAL):
        return (Path(trial),)
    if launch.volume is not None and launch.packs_on_volume:
        return launch.volume / ".cache" / "comfy-worker", *cache_folders()
    return cache_folders()
