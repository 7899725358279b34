"""ComfyUI starts as it would on its own: what must stand before torch is imported does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import packs
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
    facts["folders"] = sorted(path.name for path in worker.state.output.rglob("*"))
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
    found = start(
        base_dir, "--cpu --disable-cuda-malloc --default-device 2", SAVE_METADATA="true", OUTPUT_FOLDERS="a,b/c"
    )
    assert found["PYTORCH_CUDA_ALLOC_CONF"] is None
    assert str(found["CUDA_VISIBLE_DEVICES"]).startswith("2,0,1,3,4,")
    assert found["CUBLAS_WORKSPACE_CONFIG"] is None
    assert found["folders"] == ["a", "b", "c"]
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


def _start_elsewhere(project: Path, folder: Path, code: str) -> tuple[list[str], str]:
    """Run ``code`` in a process of its own, with the base directory in ``folder``: what it printed, and the log."""
    environment = {"COMFY_BASE_DIR": str(folder / "base"), "PYTHONPATH": str(project)}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines(), answer.stderr


IN_A_COROUTINE = """
import asyncio, signal
from pathlib import Path
from worker import Worker

async def main():
    here = asyncio.current_task(), asyncio.get_running_loop(), asyncio.get_event_loop()
    handler = signal.getsignal(signal.SIGINT)
    beside = asyncio.create_task(asyncio.sleep(0, "another task"))
    async with Worker() as worker:
        print([pack.error for pack in worker.runtime.node_packs], Path("seen").read_text())
        print(here == (asyncio.current_task(), asyncio.get_running_loop(), asyncio.get_event_loop()))
        print(await beside, signal.getsignal(signal.SIGINT) is handler)
        result = await worker.arun({"1": {"class_type": "NoSuchNode", "inputs": {}}})

try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__)
"""
ON_A_THREAD = """
import threading
from worker import Worker

def main():
    with Worker() as worker:
        print([pack.name for pack in worker.runtime.node_packs if pack.error])

thread = threading.Thread(target=main)
thread.start()
thread.join()
"""


def test_in_a_coroutine_packs_are_imported_on_the_main_thread(project: Path, tmp_path: Path) -> None:
    packs.base_with_signals(tmp_path)
    lines, _ = _start_elsewhere(project, tmp_path, IN_A_COROUTINE)
    assert lines == [f"[None] {packs.SEEN}", "True", "another task True", "WorkflowRejected"]


def test_on_another_thread_a_pack_that_handles_signals_fails_with_advice(project: Path, tmp_path: Path) -> None:
    packs.base_with_signals(tmp_path)
    lines, log = _start_elsewhere(project, tmp_path, ON_A_THREAD)
    assert lines == ["['handles_signals']"]
    assert "handles_signals handles signals, which only a program's main thread can set up" in log


INTERRUPTED = """
import os
from worker import Worker

for flags in ("--nonsense", "--cpu", "--cpu"):
    os.environ["COMFY_ARGS"] = flags
    try:
        Worker().start()
    except BaseException as error:
        print(type(error).__name__, str(error)[:80])
"""


def test_a_start_that_was_interrupted_is_not_repeated_in_its_process(project: Path, tmp_path: Path) -> None:
    packs.base_with_signals(tmp_path, prestartup="raise KeyboardInterrupt")
    lines, _ = _start_elsewhere(project, tmp_path, INTERRUPTED)
    assert lines == [
        "SettingsError COMFY_ARGS: unrecognized arguments: --nonsense",
        "KeyboardInterrupt ",
        "StartError An earlier start of ComfyUI failed or was interrupted in this process, and Pytho",
    ]
