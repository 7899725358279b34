"""Makes the base directory of each side: copies of the packs, and links to models and input files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

_LARGE = 50_000_000  # Bytes above which a file is linked. Packs keep models in their folders.
_LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__")


def make_base(folder: Path, packs: Iterable[Path], user_base: Path) -> Path:
    """Make ``folder`` a base directory with ``packs``, and with what ``user_base`` has besides packs."""
    (folder / "custom_nodes").mkdir(parents=True)
    for pack in packs:
        target = folder / "custom_nodes" / pack.name
        if pack.is_dir():
            shutil.copytree(pack, target, ignore=_LEFT_OUT, copy_function=_copy, ignore_dangling_symlinks=True)
        else:
            _copy(str(pack), str(target))
    for name in ("models", "input"):
        if (user_base / name).is_dir():
            (folder / name).symlink_to((user_base / name).resolve())
        else:
            (folder / name).mkdir()
    return folder


def _copy(source: str, target: str) -> None:
    if os.stat(source).st_size > _LARGE:  # noqa: PTH116
        Path(target).symlink_to(Path(source).resolve())
    else:
        shutil.copy2(source, target)
