"""The README's example runs, and its tables are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from worker.settings import Settings


def test_the_python_example_runs(project: Path, base_dir: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (project / "README.md").read_text(), re.DOTALL)
    (tmp_path / "examples").symlink_to(project / "examples")
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "NodeStarted(" in answer.stdout
    assert answer.stdout.splitlines()[-3:] == ["(1024, 576)", "[] []", "()"]
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["landscape_00001_.png"]


def test_every_setting_is_in_the_table(project: Path) -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", (project / "README.md").read_text(), re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields} - {
        "RUNPOD_POD_ID",
        "RUNPOD_AI_API_KEY",
        "RUNPOD_WEBHOOK_GET_JOB",
    }
