"""ComfyUI starts as it would on its own: what must stand before torch is imported does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker import Worker

SPY = """
import json, os, sys
seen = {}
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            seen.update(os.environ)
sys.meta_path.insert(0, Spy())
arguments, streams = list(sys.argv), (sys.stdout, sys.stderr)
from worker import Worker
with Worker() as worker:
    same = sys.argv == arguments and (sys.stdout, sys.stderr) == streams
    names = "PYTORCH_CUDA_ALLOC_CONF CUDA_VISIBLE_DEVICES CUBLAS_WORKSPACE_CONFIG COMFYUI_PATH".split()
    facts = {"same": same, "flags": worker.runtime.flags, "prestartup": os.environ.get("TEST_NODES_PRESTARTUP")}
    print(json.dumps(facts | {name: seen.get(name) for name in names}))
"""


def start(base_dir: Path, flags: str, **environment: str) -> dict[str, object]:
    """Start a worker in a process of its own; what it saw."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CUDA", "CUBLAS", "PYTORCH"))}
    answer = subprocess.run(
        [sys.executable, "-c", SPY],
        env=clean | {"COMFY_BASE_DIR": str(base_dir), "COMFY_ARGS": flags} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    found: dict[str, object] = json.loads(answer.stdout.splitlines()[-1])
    return found


def test_flags_for_the_device_stand_before_torch(base_dir: Path) -> None:
    found = start(base_dir, "--cpu --cuda-malloc --cuda-device 3 --deterministic")
    assert found["PYTORCH_CUDA_ALLOC_CONF"] == "backend:cudaMallocAsync"
    assert found["CUDA_VISIBLE_DEVICES"] == "3"
    assert found["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found["prestartup"] == "torch imported: False"
    assert found["same"], "arguments and streams of the process are as they were"


def test_defaults_and_their_opposites(base_dir: Path, worker: Worker) -> None:
    found = start(base_dir, "--cpu --disable-cuda-malloc --default-device 2", SAVE_METADATA="true")
    assert found["PYTORCH_CUDA_ALLOC_CONF"] is None
    assert str(found["CUDA_VISIBLE_DEVICES"]).startswith("2,0,1,3,4,")
    assert found["CUBLAS_WORKSPACE_CONFIG"] is None
    flags = found["flags"]
    assert isinstance(flags, list)
    assert "--disable-metadata" not in flags
    assert "--disable-metadata" in worker.embedded_runtime().flags


def _flags(found: dict[str, object]) -> list[str]:
    flags = found["flags"]
    assert isinstance(flags, list)
    return flags


@pytest.mark.gpu
def test_a_gpu_is_taken_without_being_asked_for(base_dir: Path) -> None:
    assert "--cpu" not in _flags(start(base_dir, ""))
