"""Each script of ``scripts/`` is run to its end by a test. Here are those that have no test file of their own."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import requests
from comfy_server import free_port
from project_copy import copy_project

from worker.embedded.start.device import cuda_device_count
from worker.embedded.start.source import find_source
from worker.settings import load_settings

RUN_BY = {
    "test_gpu": "test_scripts.py::test_tests_for_a_gpu",
    "benchmark": "test_benchmark.py::test_a_small_run",
    "build_image": "test_scripts.py::test_build_image",
    "check": "test_scripts.py::test_check",
    "check_sizes.py": "test_scripts.py::test_check_sizes",
    "compare_packs": "test_compare_packs.py::test_packs_of_several_kinds",
    "demo": "test_scripts.py::test_demo",
    "install": "test_install.py::test_a_tree_of_one_s_own_wins",
    "install-nodes": "test_install_nodes.py::test_each_kind_of_revision",
    "make_docs": "test_scripts.py::test_make_docs",
    "make_tiny_checkpoint": "conftest.py::tiny_checkpoint",
    "plan_fleet": "test_plan_fleet.py::test_table_and_plot",
    "plot_receipt": "test_receipt.py::test_a_receipt_is_printed_and_drawn",
    "review_nodes": "test_scripts.py::test_review_nodes",
    "serve": "test_scripts.py::test_serve",
    "soak": "test_soak.py::test_sixty_jobs",
    "test": "test_scripts.py::test_test",
    "image/comfy": "test_image_files.py::test_comfy_node_install_is_ours",
    "image/comfy-manager-set-mode": "test_image_files.py::test_the_manager_stays_offline",
    "image/comfyui-pins": "test_install.py::test_what_moves_with_comfyui_is_as_its_tree_pins_it",
    "image/entrypoint": "test_image_files.py::test_the_entry_point_takes_commands_of_the_worker",
    "image/get-comfyui": "test_scripts.py::test_the_image_is_built",
    "image/healthcheck": "test_image_files.py::test_the_health_check",
    "image/prepare-environment": "test_prepare.py::test_the_step_of_an_image",
    "image/install-packages": "test_scripts.py::test_the_image_is_built",
    "image/start.sh": "test_scripts.py::test_the_entry_point",
}
"""By script: the test, or the fixture of many tests, that runs it."""
INDIRECT = {"check_sizes.py", "image/comfyui-pins", "image/get-comfyui", "image/install-packages"}
"""Those that another script runs."""


def test_every_script_has_a_test_that_runs_it(project: Path) -> None:
    """A new script fails here until a test runs it to its end, and its name and the test's stand in ``RUN_BY``."""
    scripts = project / "scripts"
    programs = {
        str(path.relative_to(scripts))
        for path in scripts.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and os.access(path, os.X_OK)
    }
    assert programs | {"check_sizes.py"} == RUN_BY.keys()
    for script, test in RUN_BY.items():
        file, _, function = test.partition("::")
        source = (project / "tests" / file).read_text()
        names = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
        assert function in names, test
        assert script in INDIRECT or re.search(rf'"{re.escape(Path(script).name)}"', source), script


def run(command: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script. The test's own limit of time ends it."""
    return subprocess.run(
        [command, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, for scripts that install or write."""
    return copy_project(project, tmp_path_factory.mktemp("scripts") / "copy")


@pytest.fixture(scope="module")
def tree() -> str:
    """The ComfyUI that is tested."""
    return str(find_source(load_settings().comfyui_path, None).path)


def test_demo(copy: Path, tree: str) -> None:
    done = run(copy / "scripts" / "demo", COMFYUI_PATH=tree, COMFY_BASE_DIR="", COMFY_ARGS="")
    assert done.returncode == 0, done.stdout + done.stderr
    (picture,) = (copy / "demo_output").iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture.relative_to(copy)) in done.stdout


@pytest.mark.full
def test_demo_with_the_sampler(copy: Path, tree: str) -> None:
    done = run(copy / "scripts" / "demo", "--sampler", COMFYUI_PATH=tree)
    assert done.returncode == 0, done.stdout + done.stderr


def test_serve(copy: Path, tree: str, as_client: dict[str, str]) -> None:
    port = str(free_port())
    process = subprocess.Popen(
        [copy / "scripts" / "serve"],
        env=os.environ | as_client | {"COMFYUI_PATH": tree, "LOCAL_API_PORT": port, "LOCAL_API_HOST": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    give_up = time.monotonic() + 60
    while True:
        try:
            assert requests.get(f"http://127.0.0.1:{port}/health", timeout=10).status_code == 200
            break
        except requests.ConnectionError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed


def test_test(copy: Path, tree: str) -> None:
    done = run(copy / "scripts" / "test", "tests/test_check_sizes.py", "-q", COMFYUI_PATH=tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "packages are up to date" in done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.full  # A minute or two. CI runs it before the tests.
@pytest.mark.timeout(1200)
def test_check(copy: Path) -> None:
    done = run(copy / "scripts" / "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: " in done.stdout


def test_tests_for_a_gpu(project: Path) -> None:
    if cuda_device_count():
        pytest.skip("it would run these very tests")
    done = run(project / "scripts" / "test_gpu")
    assert done.returncode == 2
    assert "the driver shows no CUDA device here" in done.stderr


def test_check_sizes(project: Path) -> None:
    done = run(project / ".venv" / "bin" / "python", str(project / "scripts" / "check_sizes.py"))
    assert done.returncode == 0, done.stderr


def test_make_docs(project: Path) -> None:
    done = run(project / "scripts" / "make_docs", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_review_nodes(project: Path, tree: str) -> None:
    """The classes of the versions that are tested were all reviewed."""
    done = run(project / "scripts" / "review_nodes", "--comfyui", tree, "--state", "changed", "--state", "new")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"\d+ reviewed, \d+ left out", done.stdout.splitlines()[-1])


def test_the_entry_point(project: Path, tmp_path: Path) -> None:
    path = f"{project / '.venv' / 'bin'}:{os.environ['PATH']}"
    done = run(project / "scripts" / "image" / "start.sh", "--help", PATH=path, HOME=str(tmp_path), PUBLIC_KEY="")
    assert done.returncode == 0, done.stderr
    assert "exit codes:" in done.stdout


STAND_INS = {
    "id": "echo 0",
    "debootstrap": "exit 1",
    "buildah": """printf '%s\\n' "$@" >> "$LOG"
case "$3" in
  bud) for word in "$@"; do case "$word" in id=pip_conf,src=*) cp "${word#*src=}" "$LOG.conf" ;; esac; done ;;
  inspect) echo '{"Docker": {"history": [{"created_by": "COPY worker/"}], "rootfs": {"diff_ids": ["sha256:a"]}}}' ;;
  info) echo "{\\"store\\": {\\"GraphRoot\\": \\"$STORE\\"}}" ;;
esac""",
}


def test_build_image(project: Path, tmp_path: Path) -> None:
    """With a stand-in for buildah, which needs root and many minutes: what it is asked to build with."""
    for name, text in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "overlay-layers").mkdir()
    (tmp_path / "overlay-layers" / "layers.json").write_text('[{"diff-digest": "sha256:a", "diff-size": 5000000}]')
    constraints, wheels = tmp_path / "constraints.txt", tmp_path / "wheels"
    constraints.write_text("numpy<99\n")
    wheels.mkdir()
    settings = tmp_path / "pip.conf"
    places = f"find-links =\n    {wheels}\n    file://{wheels}\nlog = {tmp_path}/pip.log\n"
    index = "[install]\nindex-url = https://user:word@example.com/simple\n"
    settings.write_text(f"[global]\nconstraint = {constraints}\n{places}{index}")
    environment = {name: "" for name in os.environ if name.startswith("PIP_")} | {
        "PIP_CONFIG_FILE": str(settings),
        "PATH": f"{tmp_path}:{project / '.venv' / 'bin'}:{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "STORE": str(tmp_path),
    }
    done = run(project / "scripts" / "build_image", "--base", "some-base", "--tag", "some-tag", **environment)
    assert done.returncode == 0, done.stderr
    assert "5.0  together" in done.stdout
    asked = (tmp_path / "log").read_text().splitlines()
    mounts = [asked[index + 1] for index, word in enumerate(asked) if word == "--volume"]
    inside = next(mount for mount in mounts if mount.startswith(f"{constraints}:")).split(":")[1]
    assert re.fullmatch(r"/run/pip/\d+-constraints\.txt", inside), "a file of /etc would hide what the image has there"
    assert f"{wheels}:{wheels}:ro" in mounts
    written = (tmp_path / "log.conf").read_text()
    assert f"\nconstraint = {inside}\n" in written
    assert "\nindex-url = https://user:word@example.com/simple\n" in written
    assert f"{wheels}\n  file://{wheels}\n" in written
    assert "pip.log" not in written
    assert "config-file" not in written


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_the_image_is_built(project: Path) -> None:
    if os.geteuid() != 0 or not all(map(shutil.which, ("buildah", "debootstrap"))):
        pytest.skip("buildah and debootstrap are not installed, or this is not root")
    done = run(project / "scripts" / "build_image", "--check", "--tag", "comfy-worker-test")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
