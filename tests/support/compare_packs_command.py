"""``scripts/compare_packs`` as a process of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def compare_packs(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``scripts/compare_packs ARGUMENTS``."""
    return subprocess.run(
        [_ROOT / "scripts" / "compare_packs", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=7000,
        check=False,
    )
