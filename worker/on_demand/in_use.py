"""Finds out which fetched files this process has open: ComfyUI maps model files, and reads them when it needs them."""

from __future__ import annotations

import os
import re
from pathlib import Path


def keys_in_use(folder: Path) -> frozenset[str]:
    """The names of the folders in ``folder`` of which this process has a file open or mapped."""
    inside = re.compile(re.escape(os.path.realpath(folder)) + r"/([0-9a-f]+)/")
    found = set[str]()
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:  # noqa: PTH123
            found.update(match[1] for line in maps if (match := inside.search(line)))
        for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
            try:
                target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
            except OSError:  # It has just been closed.
                continue
            if match := inside.match(target):
                found.add(match[1])
    except OSError:  # Without /proc, all of them count as open.
        return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()
    return frozenset(found)
