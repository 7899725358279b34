"""Where the index of node packs lies."""

from __future__ import annotations

from pathlib import Path

from worker.embedded.start.cache_folders import cache_folders
from worker.embedded.start.launch import Launch


def index_folders(launch: Launch) -> tuple[Path, ...]:
    """On the network volume with its packs, for all workers that have it; otherwise with the worker or its user."""
    if launch.volume is not None and launch.packs_on_volume:
        return launch.volume / ".cache" / "comfy-worker", *cache_folders()
    return cache_folders()
