"""What ``check`` shows: in a place where all is well, and in one where much is wrong.

One process each, for all tests: ComfyUI takes seconds to start.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.embedded.start.source import find_source
from worker.settings import load_settings

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Answer = subprocess.CompletedProcess[str]
PACKS = {
    "raises": "raise RuntimeError('this pack needs foo 2.0')",
    "exits": "import sys; sys.exit(3)",
    "syntax": "def (",
    "empty": "",
    "good": "NODE_CLASS_MAPPINGS = {}",
    "ComfyUI-Manager": "NODE_CLASS_MAPPINGS = {}",
}
MANAGERS_CONFIGS = ("default/ComfyUI-Manager/config.ini", "__manager/config.ini")
MANAGERS_PRESTARTUP = f"""
import folder_paths, pathlib
for place in {MANAGERS_CONFIGS!r}:
    print('manager:', pathlib.Path(folder_paths.get_user_directory(), place).read_text().split())
"""


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below ``folder``."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_it_shows_everything_and_writes_nothing(command: Command, base_dir: Path, tmp_path: Path) -> None:
    tree = find_source(load_settings().comfyui_path, base_dir).path
    before = snapshot(tree)
    bucket = {"BUCKET_ENDPOINT_URL": "https://pictures.s3.eu-west-1.amazonaws.com/renders"}
    keys = {"BUCKET_ACCESS_KEY_ID": "hidden-id", "BUCKET_SECRET_ACCESS_KEY": "sk-hidden"}
    more = {"WORKER_STATE_DIR": str(tmp_path), "SAFE_NODES": "core,test_nodes,nope"}
    answer = command("check", COMFY_ORG_API_KEY="sk-hidden", **more, **bucket, **keys)
    assert answer.returncode == 0, answer.stderr
    for text in (
        "COMFY_LOG_LEVEL",
        str(tree),
        "Tried with:     ComfyUI 0.3.75 and 0.33.0; not with 0.38.1",
        "torch:",
        "Device:",
        "RAM:",
        "checkpoints",
        "test_nodes",
        "Bucket:         pictures, in AWS S3",
        "Region:         eu-west-1",
        "Addressing:     virtual; URLs begin with https://pictures.s3.eu-west-1.amazonaws.com/",
        "Key prefix:     renders/",
        "SAFE_NODES=core,test_nodes,nope: workflows may use ",
        "0 are not allowed because they differ from the reviewed source",
        "warning: SAFE_NODES names no node pack that is installed with 'nope'",
        "A job can run",
    ):
        assert text in answer.stdout
    for key in ("sk-hidden", "hidden-id"):
        assert key not in answer.stdout + answer.stderr
    assert snapshot(tree) == before
    assert not list(tmp_path.iterdir()), "its own folder goes with it"


def test_a_bucket_whose_settings_do_not_fit_stops_it_at_once(command: Command) -> None:
    bucket = {"BUCKET_ENDPOINT_URL": "https://pictures.s3.eu-west-1.amazonaws.com", "BUCKET_NAME": "photos"}
    keys = {"BUCKET_ACCESS_KEY_ID": "id", "BUCKET_SECRET_ACCESS_KEY": "key"}
    answer = command("check", **bucket, **keys)
    assert answer.returncode == 3
    assert "it names the bucket 'pictures', and BUCKET_NAME names 'photos'" in answer.stderr
    assert "A job can run" not in answer.stdout


@pytest.fixture(scope="module")
def wrong(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """``check`` of a pod without a GPU, with packs that fail, a volume that is not there, and a list of no nodes."""
    base = tmp_path_factory.mktemp("wrong")
    for name, source in PACKS.items():
        (base / "custom_nodes" / name).mkdir(parents=True)
        (base / "custom_nodes" / name / "__init__.py").write_text(source)
    (base / "custom_nodes" / "ComfyUI-Manager" / "prestartup_script.py").write_text(MANAGERS_PRESTARTUP)
    return command(
        "check",
        COMFY_BASE_DIR=str(base),
        NETWORK_VOLUME_PATH=str(base / "none"),
        NODE_ALLOWLIST="Nope*",
        RUNPOD_POD_ID="pod-1",
        COMFY_ARGS="--cpu",
        COLUMNS="300",
    )


def test_a_pod_may_use_the_cpu_where_it_is_told_to(wrong: Answer) -> None:
    assert wrong.returncode == 0, wrong.stderr


def test_packs_that_fail_are_named_and_the_others_go_on(wrong: Answer) -> None:
    rows = {line.split()[0]: line for line in wrong.stdout.splitlines() if " s " in line and "│" in line}
    assert {name for name, row in rows.items() if "FAILED: " in row} == {"raises", "exits", "syntax", "empty"}
    assert "ok" in rows["good"]
    for name, reason in (("raises", "this pack needs foo 2.0"), ("exits", "sys.exit(3)"), ("syntax", "invalid syntax")):
        assert reason in rows[name]


def test_a_volume_that_is_named_and_not_there_is_told(wrong: Answer) -> None:
    assert "is no folder: nothing is read from it" in wrong.stdout + wrong.stderr


def test_an_allowlist_that_allows_nothing_is_told(wrong: Answer) -> None:
    assert "workflows may use 0 of " in wrong.stdout
    assert "NODE_ALLOWLIST names no node class that is installed" in wrong.stdout


def test_the_manager_is_put_offline_before_it_is_imported(wrong: Answer) -> None:
    """Its prestartup script would ask the network, and install packages, at each start."""
    assert wrong.stdout.count("manager: ['[default]', 'network_mode', '=', 'offline']") == 2, wrong.stdout
