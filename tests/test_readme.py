"""The README's example runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_the_python_example_runs(project: Path, base_dir: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    (tmp_path / "examples").symlink_to(project / "examples")
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "[1/64] " in answer.stderr
    assert answer.stdout.splitlines() == ["(1024, 576)", "[] []", "()"]
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["landscape_00001_.png"]
