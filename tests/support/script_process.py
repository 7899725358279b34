"""One of the programs in ``scripts/`` as a process of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run_script(name: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``scripts/NAME ARGUMENTS``. The test's own limit of time ends it."""
    return subprocess.run(
        [_SCRIPTS / name, *arguments], env=os.environ | environment, capture_output=True, text=True, check=False
    )
