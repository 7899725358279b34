"""What an operator lays beside ComfyUI: extra_model_paths.yaml, and ComfyUI-Manager."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import graphs
import pytest

from worker.embedded.start.extra_paths import extra_paths_flags
from worker.embedded.start.manager import put_manager_offline
from worker.embedded.start.source import ComfySource
from worker.errors import StartError

Command = Callable[..., "subprocess.CompletedProcess[str]"]
CONFIGS = ("default/ComfyUI-Manager/config.ini", "__manager/config.ini")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base directory of its own."""
    for name in ("models", "custom_nodes", "input"):
        (tmp_path / "base" / name).mkdir(parents=True)
    return tmp_path / "base"


def test_extra_model_paths_of_the_base_directory_are_read(command: Command, base: Path, tmp_path: Path) -> None:
    lora = tmp_path / "elsewhere" / "my-loras" / "mine.safetensors"
    lora.parent.mkdir(parents=True)
    lora.write_bytes(b"not looked into")
    (base / "extra_model_paths.yaml").write_text(f"mine:\n  base_path: {tmp_path}/elsewhere\n  loras: my-loras\n")
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps({"1": graphs.node("LoraLoaderModelOnly", lora_name="mine.safetensors")}))
    answer = command("models", workflow, "--json", COMFY_BASE_DIR=str(base))
    assert json.loads(answer.stdout)[0]["path"] == str(lora), answer.stderr


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: [1\n", "cannot be read"),
        ("a: 2024-13-45\n", "cannot be read"),
        ("a: !!timestamp x\n", "cannot be read"),
        ("[" * 20_000, "cannot be read"),
        ("- checkpoints\n", "must hold groups"),
        ("mine: models\n", "'mine' must hold lines"),
        ("mine:\n  checkpoints: [a, b]\n", "'checkpoints' of 'mine' must be a folder"),
    ],
)
def test_extra_model_paths_that_comfyui_would_stumble_over(base: Path, tmp_path: Path, text: str, what: str) -> None:
    (base / "extra_model_paths.yaml").write_text(text)
    (tmp_path / "main.py").write_text("")
    with pytest.raises(StartError, match=what) as caught:
        extra_paths_flags(ComfySource(tmp_path, base, "0", "COMFYUI_PATH"))
    assert str(base) in str(caught.value)


@pytest.mark.parametrize(
    ("base_path", "entry", "folder"),
    [
        ("", "packs", "{base}/packs"),
        ("base_path: elsewhere", "a/b", "{base}/elsewhere/a/b"),
        ("base_path: $EXTRA/x", "packs", "{extra}/x/packs"),
        ("base_path: /nowhere", "/absolute/packs/", "/absolute/packs"),
        ("", "|\n    custom_nodes\n    packs\n", "{base}/packs"),
        ("", "file", "{base}/file"),
    ],
)
@pytest.mark.parametrize("flag", [None, "{flag} {file}", "{flag}={file}", "{flag} {other} {file} --fast"])
def test_a_folder_of_packs_that_is_not_there_is_named_with_its_file_and_entry(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    base_path: str,
    entry: str,
    folder: str,
    flag: str | None,
) -> None:
    monkeypatch.setenv("EXTRA", str(tmp_path / "extra"))
    (base / "file").write_text("")
    file, other = base / ("extra_model_paths.yaml" if flag is None else "mine.yaml"), base / "other.yaml"
    file.write_text(
        f"usual:\n  loras: not-there\nmine:\n  custom_nodes: {entry}\n" + (f"  {base_path}\n" if base_path else "")
    )
    other.write_text("usual:\n  custom_nodes: custom_nodes\n")
    flags = (flag or "").format(flag="--extra-model-paths-config", file=file, other=other).split()
    source = ComfySource(tmp_path, base, "0", "COMFYUI_PATH")
    with pytest.raises(StartError) as caught:
        extra_paths_flags(source, flags)
    named = folder.format(base=base, extra=tmp_path / "extra")
    assert str(caught.value).startswith(
        f"{file}: the folder {named} that 'custom_nodes' of 'mine' names cannot be read ("
    )
    extra_paths_flags(source, [*flags, "--disable-all-custom-nodes"])


def test_a_start_without_a_folder_of_packs_ends_with_one_line(command: Command, base: Path) -> None:
    (base / "extra_model_paths.yaml").write_text("mine:\n  custom_nodes: packs\n")
    answer = command("check", COMFY_BASE_DIR=str(base))
    assert answer.returncode == 3
    assert answer.stderr.strip().splitlines()[-1] == (
        f"worker: {base}/extra_model_paths.yaml: the folder {base}/packs that 'custom_nodes' of 'mine' names cannot be "
        "read (No such file or directory): make it, or take it out of the file"
    )


def test_its_other_settings_stay(base: Path, tmp_path: Path) -> None:
    (base / "custom_nodes" / "comfyui-manager").mkdir()
    settings = base / "user" / CONFIGS[0]
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nnetwork_mode = public\nsecurity_level = weak%\n")
    assert put_manager_offline([str(base / "custom_nodes")], tmp_path / "user", base / "user")
    config = ConfigParser(interpolation=None)
    config.read(tmp_path / "user" / CONFIGS[0])
    assert dict(config["default"]) == {"network_mode": "offline", "security_level": "weak%"}
    assert "public" in settings.read_text(), "the image's own file is not changed"


def test_without_a_manager_nothing_is_written(base: Path, tmp_path: Path) -> None:
    assert not put_manager_offline([str(base / "custom_nodes"), str(tmp_path / "none")], tmp_path / "user", base)
    assert not (tmp_path / "user").exists()
