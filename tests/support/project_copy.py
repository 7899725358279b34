"""A copy of the project for scripts that install or write: a git repository beside the packages that are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from git_command import GIT


def copy_project(project: Path, target: Path) -> Path:
    """Copy the project's files to ``target``, with its installed packages and without any ComfyUI. Returns ``target``.

    The packages count as installed: nothing may change what the tests run on.
    """
    names = subprocess.run([*GIT, "ls-files"], cwd=project, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (project / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, target / name)
    (target / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (target / ".venv" / name).symlink_to(project / ".venv" / name)
    stamp = subprocess.run(
        ["/bin/sh", "-c", "cat requirements*.txt pyproject.toml scripts/install | sha256sum"],
        cwd=target, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (target / ".venv" / "installed").write_text(stamp.stdout)
    subprocess.run([*GIT, "init", "-q"], cwd=target, check=True)
    return target
