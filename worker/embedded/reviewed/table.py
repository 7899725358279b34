"""The tables of reviewed classes: classes.toml, bases.toml, left_out.toml and files.toml in this folder.

Each has a table for each file of ComfyUI. ``scripts/review_nodes`` writes all but left_out.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
Hashes = Mapping[str, Mapping[str, list[str]]]


@dataclass(frozen=True)
class ReviewTable:
    """What was reviewed. Paths are those of files in ComfyUI's tree, such as ``comfy_extras/nodes_math.py``.

    Attributes:
        classes: by path and by the name that workflows use: hashes of the versions of the class that callers may use.
        bases: by path and by the name of the class: the same for classes of other files that node classes stem from.
        left_out: by path and by name: why a class that was reviewed is not for callers.
        files: by path: SHA-256 of files whose reviewed classes all have a hash that is listed.
    """

    classes: Hashes
    bases: Hashes
    left_out: Mapping[str, Mapping[str, str]]
    files: Mapping[str, list[str]]

    @classmethod
    def read(cls, folder: Path) -> ReviewTable:
        """Read the tables in ``folder``. Those that it lacks are empty."""
        paths = {name: folder / f"{name}.toml" for name in cls.__annotations__}
        return cls(
            **{name: tomllib.loads(path.read_text("utf-8")) if path.exists() else {} for name, path in paths.items()}
        )

    def names(self) -> set[str]:
        """The names of all classes of ComfyUI that were reviewed, for whatever callers."""
        return {name for tables in (self.classes, self.left_out) for names in tables.values() for name in names}


@cache
def review_table() -> ReviewTable:
    """The table of this worker. It is read once."""
    return ReviewTable.read(FOLDER)
