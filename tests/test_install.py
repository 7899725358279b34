"""``scripts/install`` gets ComfyUI in each way it promises, in a copy of the project beside the installed packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from git_command import GIT
from project_copy import copy_project
from wheels import make_wheel

NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """A git repository with the project's files and its installed packages, but without any ComfyUI."""
    return copy_project(project, tmp_path / "copy")


def install(copy: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``scripts/install`` in ``copy``."""
    clean = {name: value for name, value in os.environ.items() if name != "COMFYUI_PATH"}
    return subprocess.run(
        [copy / "scripts" / "install"],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


def submodule_from(copy: Path, repository: Path) -> None:
    """Point the submodule at a repository of this machine, pinned to its newest commit."""
    (repository / "main.py").parent.mkdir(parents=True)
    for name in ("main.py", "execution.py"):
        (repository / name).write_text("")
    subprocess.run([*GIT, "init", "-q"], cwd=repository, check=True)
    subprocess.run([*GIT, "add", "."], cwd=repository, check=True)
    subprocess.run([*GIT, "commit", "-qm", "a tree"], cwd=repository, check=True)
    head = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    modules = copy / ".gitmodules"
    text = modules.read_text()
    modules.write_text(text[: text.index("url = ")] + f"url = {repository.as_uri()}\n")
    entry = f"160000,{head.stdout.strip()},vendor/ComfyUI"
    subprocess.run([*GIT, "update-index", "--add", "--cacheinfo", entry], cwd=copy, check=True)


def test_a_tree_of_one_s_own_wins(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("main.py", "execution.py"):
        (tmp_path / "mine" / name).write_text("")
    answer = install(copy, COMFYUI_PATH=str(tmp_path / "mine"), **NO_INDEX)
    assert answer.returncode == 0, answer.stderr
    assert "packages are up to date" in answer.stdout
    assert f"ComfyUI: {tmp_path / 'mine'} (COMFYUI_PATH)" in answer.stdout
    answer = install(copy, COMFYUI_PATH=str(tmp_path))
    assert answer.returncode == 1
    assert "is no ComfyUI" in answer.stderr


def test_the_submodule_where_its_host_answers(copy: Path, tmp_path: Path) -> None:
    submodule_from(copy, tmp_path / "upstream")
    allowed = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
    answer = install(copy, **allowed, **NO_INDEX)
    assert answer.returncode == 0, answer.stderr
    assert "ComfyUI: vendor/ComfyUI (submodule)" in answer.stdout
    assert (copy / "vendor" / "ComfyUI" / "main.py").is_file()
    assert "ComfyUI: vendor/ComfyUI (submodule)" in install(copy, **NO_INDEX).stdout


def test_the_packaged_copy_where_the_host_does_not_answer(copy: Path) -> None:
    modules = copy / ".gitmodules"
    modules.write_text(modules.read_text().replace("https://github.com", "https://127.0.0.1:9"))
    answer = install(copy)
    assert answer.returncode == 0, answer.stderr
    assert "(packaged copy from " in answer.stdout
    assert (copy / "vendor" / "ComfyUI-packaged" / "comfy_extras").is_dir()
    assert not (copy / "vendor" / "ComfyUI-packaged" / "extra_model_paths.yaml").exists()


def test_one_clear_line_where_none_can_be_had(copy: Path) -> None:
    modules = copy / ".gitmodules"
    modules.write_text(modules.read_text().replace("https://github.com", "https://127.0.0.1:9"))
    answer = install(copy, **NO_INDEX)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == (
        "install: ComfyUI cannot be had: neither the submodule's host nor the package index answers. "
        "Set COMFYUI_PATH to a ComfyUI tree, or run scripts/install again with a connection"
    )


@pytest.fixture
def own_packages(copy: Path) -> Path:
    """``copy`` with an environment of its own, where nothing is installed. Returns a folder for wheels."""
    for name in ("bin", "lib", "pyvenv.cfg"):
        (copy / ".venv" / name).unlink()
    subprocess.run([sys.executable, "-m", "venv", copy / ".venv"], check=True, capture_output=True)
    wheels = copy / "wheels"
    wheels.mkdir()
    return wheels


def test_what_moves_with_comfyui_is_as_its_tree_pins_it(copy: Path, own_packages: Path, tmp_path: Path) -> None:
    """As 0.38.1 does. Another tree without pins has those of requirements.txt again."""
    ours = re.findall(r"^(comfy-(?:aimdo|kitchen))==(\S+)$", (copy / "requirements.txt").read_text(), re.MULTILINE)
    for name, version in [*ours, ("comfy-aimdo", "99.5"), ("comfy-kitchen", "99.2.36")]:
        make_wheel(own_packages, name, version)
    for name in ("newer", "older"):
        (tmp_path / name).mkdir()
        for module in ("main.py", "execution.py"):
            (tmp_path / name / module).write_text("")
    (tmp_path / "newer" / "requirements.txt").write_text(
        "av>=17.0.0\ncomfy-kitchen==99.2.36\ncomfy-aimdo==99.5 \ntorch\n"
    )
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(own_packages)}
    freeze = [str(copy / ".venv" / "bin" / "python"), "-m", "pip", "freeze"]
    for tree, wanted in (("newer", {"99.5", "99.2.36"}), ("older", {version for _, version in ours})):
        answer = install(copy, COMFYUI_PATH=str(tmp_path / tree), **offline)
        assert answer.returncode == 0, answer.stderr
        assert "this ComfyUI pins comfy-aimdo==" in answer.stdout
        found = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout.split()
        assert {line.split("==")[1] for line in found if line.startswith("comfy")} == wanted
    assert "this ComfyUI pins" not in install(copy, COMFYUI_PATH=str(tmp_path / "older"), **offline).stdout
    (tmp_path / "newer" / "requirements.txt").write_text("comfy-aimdo==98.0\n")
    answer = install(copy, COMFYUI_PATH=str(tmp_path / "newer"), **offline)
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == (
        "install: pip could not install comfy-aimdo==98.0, which this ComfyUI pins; its message stands above"
    )


def test_an_argument_that_is_none(copy: Path) -> None:
    answer = subprocess.run([copy / "scripts" / "install", "--fast"], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "usage:" in answer.stderr
