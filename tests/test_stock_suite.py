"""ComfyUI's own execution tests, as they lie in its tree, pass on the embedded backend."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from worker.embedded.start.source import find_source
from worker.settings import load_settings

# How many cases a stock server passes; a version that is not here has at least none that fails.
KNOWN = {"0.3.75": 232, "0.33.0": 274}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# Cases that wait half a minute for nodes that sleep, and half a minute for messages that must not come.
SLOW = "parallel_sleep or progress_isolation or progress_with_missing_client_id"


@pytest.mark.parametrize("left_out", [SLOW, pytest.param("no_such_case", marks=pytest.mark.full)], ids=["quick", "all"])
@pytest.mark.timeout(900)
def test_the_suite_of_comfyui_passes(project: Path, base_dir: Path, tmp_path: Path, left_out: str) -> None:
    source = find_source(load_settings().comfyui_path, base_dir)
    suite = source.path / "tests" / "execution"
    if not suite.is_dir():
        pytest.skip(f"{source.path} has no tests/execution")
    flags = f"--cpu --extra-model-paths-config {suite / 'extra_model_paths.yaml'}"
    answer = subprocess.run(
        [
            sys.executable, "-m", "pytest", "tests/execution", "-p", "stock_suite", "-p", "no:cacheprovider", "-q",
            "-k", f"not ({left_out})", "--skip-timing-checks", f"--port={free_port()}", f"--output_dir={tmp_path}",
        ],
        cwd=source.path,
        env=os.environ | {
            "PYTHONPATH": os.pathsep.join([str(project), str(project / "tests" / "support")]),
            "PYTHONDONTWRITEBYTECODE": "1", "COMFY_BASE_DIR": str(base_dir), "COMFY_ARGS": flags,
            "COMFYUI_PATH": str(source.path), "COMFY_LOG_LEVEL": "ERROR",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=850,
    )  # fmt: skip
    summary = answer.stdout.strip().splitlines()[-1] if answer.stdout.strip() else answer.stderr[-2000:]
    assert answer.returncode == 0, answer.stdout[-5000:]
    counted = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", summary)}
    assert counted["passed"] > 200
    assert counted["passed"] + counted.get("deselected", 0) >= KNOWN.get(source.version, 1), summary
    assert counted.get("deselected", 0) < 20
