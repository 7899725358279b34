"""The state folder and the jobs' own: made, removed, and swept where a killed process left one."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.engine.workspace import open_state
from worker.errors import StartError


def test_a_workspace_goes_with_its_last_owner(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    workspace = state.new_workspace()
    root = workspace.root
    assert root.is_dir()
    del workspace
    gc.collect()
    assert not root.exists()
    state.close()
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_nothing_for_long(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from worker.engine.workspace import open_state;"
        "open_state(Path(sys.argv[1])); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    open_state(tmp_path).close()
    assert left.exists(), "a young folder may be in the making"
    old = time.time() - 3600
    os.utime(left, (old, old))
    open_state(tmp_path).close()
    assert not left.exists()


def test_a_living_one_is_left_alone(tmp_path: Path) -> None:
    living = open_state(tmp_path)
    old = time.time() - 3600
    os.utime(living.root, (old, old))
    open_state(tmp_path).close()
    assert living.root.exists()
    living.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="WORKER_STATE_DIR"):
        open_state(tmp_path / "file" / "below")


def test_a_forked_child_takes_nothing_with_it(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    workspace = state.new_workspace()
    child = os.fork()
    if child == 0:
        workspace.close()
        state.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert workspace.root.is_dir()
    state.close()
