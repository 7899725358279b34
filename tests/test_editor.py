"""The editor is stock ComfyUI with the worker's tree, models, node packs and flags, and saves workflows by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
import requests
from editor import Editor, editor

from worker.editor.address import is_open
from worker.editor.pack import NAME
from worker.embedded.start.source import find_tree
from worker.settings import load_settings

SECRETS = {"BUCKET_SECRET_ACCESS_KEY": "editor-canary-1", "RUNPOD_API_KEY": "editor-canary-2", "HF_TOKEN": "stays"}
Refused = Callable[..., str]


def tree() -> Path:
    """ComfyUI's tree."""
    return find_tree(load_settings().comfyui_path)[0]


def files_of(folder: Path) -> dict[str, int]:
    """Every file below ``folder``, with the time of its last change."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the editor is told to use: ``base``, ``volume``, ``more`` and ``page``."""
    root = tmp_path_factory.mktemp("editor")
    tests = Path(__file__).parent
    for name in (
        "base/models/checkpoints",
        "base/input/inside",
        "volume/models/checkpoints",
        "volume/models/pack_models",
    ):
        (root / name).mkdir(parents=True)
    shutil.copytree(tests / "nodes", root / "base" / "custom_nodes" / "test_nodes")
    shutil.copytree(tests / "volume_nodes", root / "volume" / "custom_nodes" / "volume_nodes")
    for place in ("base", "volume", "more"):
        folder = root / place / "models" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"of-{place}.safetensors").touch()
    (root / "volume" / "models" / "pack_models" / "late.txt").write_text("found")
    (root / "base" / "input" / "inside" / "photo.png").write_bytes(b"a picture")
    (root / "base" / "input" / "inside" / "ring").symlink_to(root / "base" / "input")
    (root / "base" / "input" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "base" / "extra_model_paths.yaml").write_text(f"more:\n  checkpoints: {root}/more/models/checkpoints\n")
    (root / "page").mkdir()
    (root / "page" / "index.html").write_text("the page")
    return root


@pytest.fixture(scope="module")
def environment(root: Path) -> dict[str, str]:
    """The settings of the editor. Its page is a file, since the front end need not be installed here."""
    return {
        "COMFY_BASE_DIR": str(root / "base"),
        "NETWORK_VOLUME_PATH": str(root / "volume"),
        "VOLUME_CUSTOM_NODES": "true",
        "WORKFLOWS_DIR": str(root / "workflows"),
        "COMFY_ARGS": f"--front-end-root {root / 'page'}",
        "WORKER_STATE_DIR": str(root / "state"),
    }


@pytest.fixture(scope="module")
def running(root: Path, environment: dict[str, str]) -> Iterator[Editor]:
    """An editor that the tests share."""
    with editor(root / "log.txt", environment | SECRETS) as started:
        yield started


@pytest.fixture
def refused(root: Path, environment: dict[str, str]) -> Refused:
    """Start an editor that must refuse; gives what it says."""

    def run(*options: str, code: int = 3, **more: str) -> str:
        command = [sys.executable, "-m", "worker", "editor", *options]
        done = subprocess.run(command, env=os.environ | environment | more, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1]

    return run


def test_it_has_the_models_and_packs_of_the_worker(running: Editor, root: Path) -> None:
    assert requests.get(running.url, timeout=10).text == "the page"
    assert sorted(requests.get(f"{running.url}/models/checkpoints", timeout=10).json()) == [
        "of-base.safetensors",
        "of-more.safetensors",
        "of-volume.safetensors",
    ]
    classes = requests.get(f"{running.url}/object_info", timeout=60).json()
    assert "TestShowsText" in classes
    assert "late.txt" in classes["TestPackModel"]["input"]["required"]["model"][0]
    assert (root / "volume" / "editor" / "input" / "inside" / "photo.png").is_file()
    assert not (root / "volume" / "editor" / "input" / "inside" / "ring").exists()
    assert "Cannot import" not in running.text()


def test_its_order_of_model_folders_is_the_workers(root: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """The first folder that has a model counts."""
    pack = root / "base" / "custom_nodes" / "zz_tells_folders.py"
    pack.write_text(
        "import folder_paths, json, os\nNODE_CLASS_MAPPINGS = {}\n"
        "paths = folder_paths.get_folder_paths('checkpoints')\n"
        "open(os.environ['TELLS'], 'w').write(json.dumps(paths))\n"
    )
    try:
        told = {}
        with editor(tmp_path / "log.txt", environment | {"TELLS": str(tmp_path / "editor.json")}):
            told["editor"] = json.loads((tmp_path / "editor.json").read_text())
        program = "from worker import Worker\nwith Worker(): pass"
        more = environment | {"TELLS": str(tmp_path / "worker.json")}
        subprocess.run(
            [sys.executable, "-c", program], env=os.environ | more, check=True, timeout=120, capture_output=True
        )
        told["worker"] = json.loads((tmp_path / "worker.json").read_text())
    finally:
        pack.unlink()
    of_both = {
        who: [path for path in paths if path.startswith(str(root)) and "/output/" not in path]
        for who, paths in told.items()
    }
    assert of_both["editor"] == of_both["worker"]
    assert [Path(path).parts[-3] for path in of_both["editor"]] == ["base", "volume", "more"]


def test_its_environment_holds_no_secret(running: Editor) -> None:
    seen = Path(f"/proc/{running.process.pid}/environ").read_bytes()
    assert b"editor-canary" not in seen
    assert b"HF_TOKEN=stays" in seen
    assert b"main.py" in Path(f"/proc/{running.process.pid}/cmdline").read_bytes(), "it is ComfyUI's own process"


def test_what_is_saved_runs_by_name(running: Editor, root: Path, environment: dict[str, str], tmp_path: Path) -> None:
    saved = requests.post(
        f"{running.url}/userdata/workflows%2Fportrait.json", json=graphs.editors(0xFF0000), timeout=10
    )
    assert saved.status_code == 200
    assert json.loads((root / "workflows" / "portrait.json").read_text()) == graphs.editors(0xFF0000)
    listed = requests.get(f"{running.url}/userdata?dir=workflows&recurse=true&split=false&full_info=true", timeout=10)
    assert [entry["path"] for entry in listed.json()] == ["portrait.json"]
    command = [sys.executable, "-m", "worker", "run", "portrait", "--out", str(tmp_path), "--json"]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ComfyUI_00001_.png").is_file()


def test_a_workflow_runs_in_it_and_nothing_comes_into_the_tree(running: Editor, root: Path) -> None:
    before = files_of(tree()) | files_of(root / "base")
    queued = requests.post(f"{running.url}/prompt", json={"prompt": graphs.solid(0x00FF00)}, timeout=10).json()
    history: dict[str, Any] = {}
    while not history:
        history = requests.get(f"{running.url}/history/{queued['prompt_id']}", timeout=10).json()
    assert history[queued["prompt_id"]]["status"]["status_str"] == "success"
    assert len(list((root / "volume" / "editor" / "output").glob("*.png"))) == 1
    files = {"image": ("photo.png", b"another")}
    form = {"subfolder": "inside", "overwrite": "true"}
    assert requests.post(f"{running.url}/upload/image", files=files, data=form, timeout=10).status_code == 200
    assert files_of(tree()) | files_of(root / "base") == before
    assert (root / "base" / "input" / "inside" / "photo.png").read_bytes() == b"a picture"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_and_keeps_the_pages_settings(
    root: Path, environment: dict[str, str], tmp_path: Path, number: int
) -> None:
    before = files_of(tree())
    mine = environment | {"EDITOR_DIR": str(tmp_path / "mine"), "WORKER_STATE_DIR": str(tmp_path / "state")}
    with editor(tmp_path / "log.txt", mine) as first:
        requests.post(f"{first.url}/settings/Comfy.Locale", json=str(number), timeout=10)
        (temp,) = (tmp_path / "state").glob("*/temp")
        assert first.end(number) == 0, first.text()
        assert "Stopped server" in first.text()
        assert not temp.exists()
    with editor(tmp_path / "log.txt", mine, "--listen", "127.0.0.1") as second:
        assert requests.get(f"{second.url}/settings/Comfy.Locale", timeout=10).json() == str(number)
    assert files_of(tree()) == before


def test_its_folder_stays_while_it_runs(running: Editor, root: Path, environment: dict[str, str]) -> None:
    """Another worker removes the folders of processes that have ended, and of no others."""
    flags = Path(f"/proc/{running.process.pid}/cmdline").read_text().split("\0")
    folder = Path(flags[flags.index("--temp-directory") + 1])
    os.utime(folder, (1, 1))
    check = [sys.executable, "-m", "worker", "check"]
    subprocess.run(check, env=os.environ | environment, capture_output=True, timeout=120)
    assert (folder / "packs" / NAME).is_dir()


def test_models_of_the_volume_are_there_without_packs(root: Path, environment: dict[str, str], tmp_path: Path) -> None:
    flags = f"{environment['COMFY_ARGS']} --disable-all-custom-nodes --whitelist-custom-nodes volume_nodes"
    with editor(tmp_path / "log.txt", environment | {"COMFY_ARGS": flags}) as started:
        assert "of-volume.safetensors" in requests.get(f"{started.url}/models/checkpoints", timeout=10).json()
        classes = requests.get(f"{started.url}/object_info", timeout=60).json()
        assert "TestPackModel" in classes
        assert "TestShowsText" not in classes


def test_an_open_page_is_told(root: Path, environment: dict[str, str], tmp_path: Path) -> None:
    more = {"WORKFLOWS_DIR": "", "EDITOR_DIR": str(tmp_path / "mine")}
    with editor(tmp_path / "log.txt", environment | more, "--listen") as started:
        text = started.text()
        assert f"warning: the page listens on 0.0.0.0, port {started.port}, without a password" in text
        assert f"WORKFLOWS_DIR is not set: workflows are saved in {tmp_path / 'mine' / 'workflows'}" in text


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1", False),
        ("localhost,::1", False),
        ("127.0.0.1,0.0.0.0", True),
        ("::", True),
        ("192.168.1.2", True),
        ("box.example.com", True),
    ],
)
def test_who_reaches_an_address(listen: str, expected: bool) -> None:
    assert is_open(listen) is expected


def test_a_page_that_is_not_installed(refused: Refused) -> None:
    try:
        import comfyui_frontend_package  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("the page is installed here")
    text = refused(COMFY_ARGS="--cpu")
    assert text.startswith("worker: ComfyUI's page is not installed: ")
    wanted = next(line for line in (tree() / "requirements.txt").read_text().splitlines() if "frontend" in line)
    assert f"{sys.executable} -m pip install {wanted}, as {tree() / 'requirements.txt'} names it" in text


def test_a_page_of_another_version(environment: dict[str, str], tmp_path: Path) -> None:
    """The warning comes before anything is started: the port is taken, so that nothing is."""
    info = tmp_path / "lib" / "comfyui_frontend_package-0.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: comfyui-frontend-package\nVersion: 0.0.1\n")
    more = {"COMFY_ARGS": "--cpu", "PYTHONPATH": f"{tmp_path / 'lib'}:{os.environ.get('PYTHONPATH', '')}"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "worker", "editor", "--port", str(port)]
        done = subprocess.run(command, env=os.environ | environment | more, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "warning: comfyui-frontend-package is 0.0.1, and " in done.stderr
    assert f"worker: Port {port} is in use already: choose another with --port" in done.stderr


def test_what_cannot_be_is_said(refused: Refused, root: Path, tmp_path: Path) -> None:
    assert "--listen 10.255.255.1: this machine has no such address" in refused("--listen", "10.255.255.1")
    assert "argument --port" in refused("--port", "70000", code=2)
    assert "gpu-box:8188 has a page of its own" in refused(COMFY_BACKEND="websocket", COMFY_HOST="gpu-box:8188")
    assert "in a pod" in refused(RUNPOD_WEBHOOK_GET_JOB="http://127.0.0.1:9/")
    assert "--user-directory is set by the worker" in refused(COMFY_ARGS="--user-directory /x")
    assert "--no-such-flag" in refused(COMFY_ARGS="--no-such-flag")
    (tmp_path / "file").touch()
    assert "set EDITOR_DIR" in refused(EDITOR_DIR=str(tmp_path / "file"))
    assert "WORKFLOWS_DIR=" in refused(WORKFLOWS_DIR=str(tmp_path / "file"))
    mine = tmp_path / "mine" / "user" / "default" / "workflows"
    mine.mkdir(parents=True)
    (mine / "old.json").write_text("{}")
    assert f"{mine} holds files: move them to " in refused(EDITOR_DIR=str(tmp_path / "mine"))
    assert (mine / "old.json").is_file()
