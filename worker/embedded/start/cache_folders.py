"""Where the worker keeps what later starts use again: indexes of ComfyUI's node files, and compiled code."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from worker.embedded.start.source import PROJECT


def cache_folders() -> tuple[Path, ...]:
    """With the worker, so that an image can have it, or with the user. New files go to the first that is writable."""
    with contextlib.suppress(RuntimeError):  # Some users have no home.
        return PROJECT / ".cache", Path.home() / ".cache" / "comfy-worker"
    return (PROJECT / ".cache",)


def keep(places: Iterable[Path], content: bytes) -> None:
    """Write a file at the first of ``places`` that can be written, if one can be. Nobody sees a part of it."""
    for place in places:
        part = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_bytes(content)
                part.replace(place)
            except OSError:  # The disk may be full.
                part.unlink(missing_ok=True)
                raise
            return
