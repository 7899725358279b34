"""Models of the network volume: which are found, by which names, and what is said of the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.__main__ import main
from worker.embedded.runtime import Runtime
from worker.errors import WorkflowRejected
from worker.handler import make_handler
from worker.models.damage import damage, size_text
from worker.models.references import ModelReference, files_by_stem, near_misses, workflow_models
from worker.models.volume import describe_volume

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def runtime(worker: Worker) -> Runtime:
    """ComfyUI in this process, with the volume."""
    return worker.embedded_runtime()


@pytest.fixture(autouse=True)
def models(volume: Path) -> Iterator[Path]:
    """The volume's ``models/``, empty before and after each test."""
    folder = volume / "models"
    folder.mkdir()
    yield folder
    for entry in volume.iterdir():
        if entry.name != "custom_nodes":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def safetensors(path: Path, size: int = 1000, cut: int = 0) -> Path:
    """A file that looks like a model of ``size`` bytes of tensors, the last ``cut`` of them missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size - cut))
    return path


def reference(name: str, folder: str | None = "checkpoints") -> ModelReference:
    """A file that a workflow names and that is not there."""
    return ModelReference("1", "CheckpointLoaderSimple", "ckpt_name", name, folder, None)


def test_every_folder_that_this_comfyui_knows_is_on_the_volume(runtime: Runtime, models: Path) -> None:
    """Those that the known worker forgot as well."""
    for folder in runtime.model_folders():
        assert models / folder.name in folder.paths
    names = {folder.name for folder in runtime.model_folders()}
    assert {
        "diffusion_models",
        "text_encoders",
        "audio_encoders",
        "model_patches",
        "style_models",
        "pack_models",
        "pack_formats",
    } <= names


@pytest.mark.parametrize(
    ("folder", "kind"), [("unet", "diffusion_models"), ("clip", "text_encoders"), ("t2i_adapter", "controlnet")]
)
def test_older_names_of_folders_are_read_too(runtime: Runtime, models: Path, folder: str, kind: str) -> None:
    safetensors(models / folder / "old.safetensors")
    assert "old.safetensors" in runtime.model_files(kind)


def test_a_job_runs_on_a_checkpoint_that_came_after_the_start(
    worker: Worker, models: Path, tiny_checkpoint: Path
) -> None:
    (models / "checkpoints" / "sub").mkdir(parents=True)
    os.link(tiny_checkpoint, models / "checkpoints" / "sub" / "late.safetensors")
    result = worker.run(graphs.text_to_image(checkpoint="sub/late.safetensors"))
    assert result.ok
    assert result.images[0].size == (64, 64)


def test_a_folder_of_the_volume_that_goes_away_is_no_error(worker: Worker, runtime: Runtime, models: Path) -> None:
    safetensors(models / "checkpoints" / "sub" / "a.safetensors")
    assert "sub/a.safetensors" in runtime.model_files("checkpoints")
    shutil.rmtree(models / "checkpoints")
    with pytest.raises(WorkflowRejected, match=r"'sub/a\.safetensors' is not in the list"):
        worker.run(graphs.text_to_image(checkpoint="sub/a.safetensors"))
    assert "sub/a.safetensors" not in runtime.model_files("checkpoints")


def test_a_pack_of_the_volume_finds_its_own_models_there(worker: Worker, models: Path) -> None:
    """Packs make model folders while they are imported: those are mapped as well."""
    (models / "pack_models").mkdir()
    (models / "pack_models" / "a.safetensors").write_text("from the volume")
    result = worker.run({"1": graphs.node("TestPackModel", model="a.safetensors")})
    assert [text.text for text in result.texts] == ["from the volume"]


@pytest.mark.parametrize(
    ("class_type", "input_name", "folder"),
    [
        ("CheckpointLoaderSimple", "ckpt_name", "checkpoints"),
        ("LoraLoader", "lora_name", "loras"),
        ("VAELoader", "vae_name", "vae"),
        ("UNETLoader", "unet_name", "diffusion_models"),
        ("DualCLIPLoader", "clip_name2", "text_encoders"),
        ("ControlNetLoader", "control_net_name", "controlnet"),
        ("UpscaleModelLoader", "model_name", "upscale_models"),
        ("AudioEncoderLoader", "audio_encoder_name", "audio_encoders"),
        ("TestPackModel", "model", "pack_models"),
    ],
)
def test_nodes_tell_which_folder_an_input_names_a_file_of(
    runtime: Runtime, class_type: str, input_name: str, folder: str
) -> None:
    assert runtime.model_inputs(class_type)[input_name][0] == folder


def test_asking_all_nodes_leaves_their_lists_alone(worker: Worker, runtime: Runtime, models: Path) -> None:
    safetensors(models / "loras" / "a.safetensors")
    classes = sys.modules["nodes"].NODE_CLASS_MAPPINGS  # ComfyUI's.
    found = {name: inputs for name in classes if (inputs := runtime.model_inputs(name))}
    assert len(found) > 20
    assert runtime.model_files("loras") == ["a.safetensors"]
    assert classes["LoraLoader"].INPUT_TYPES()["required"]["lora_name"][0] == ["a.safetensors"]
    assert worker.run(graphs.solid()).ok


def test_a_pack_that_keeps_its_list_keeps_the_names_of_files(runtime: Runtime, models: Path) -> None:
    safetensors(models / "loras" / "a.safetensors")
    sys.modules["nodes"].NODE_CLASS_MAPPINGS["TestKeepsList"]._kept.clear()
    assert runtime.model_inputs("TestKeepsList") == {"lora": ("loras", frozenset({"None"}))}
    node_class = sys.modules["nodes"].NODE_CLASS_MAPPINGS["TestKeepsList"]
    (kept,) = node_class.INPUT_TYPES()["required"]["lora"]
    assert kept == ["None", "a.safetensors"]
    node_class._kept.clear()


def test_two_threads_may_ask_nodes_at_once(runtime: Runtime, models: Path) -> None:
    safetensors(models / "loras" / "a.safetensors")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: runtime.model_inputs("LoraLoader")["lora_name"][0], range(200)))
        assert set(found) == {"loras"}
        names = [name for listed in pool.map(lambda _: runtime.model_files("loras"), range(50)) for name in listed]
    assert {(type(name), name) for name in names} == {(str, "a.safetensors")}


def test_a_volume_that_cannot_be_looked_at_costs_no_answer(
    worker: Worker, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a mount stops to answer: ``describe_volume`` then raises ``OSError``."""
    debugging = worker.settings.model_copy(
        update={"network_volume_debug": True, "network_volume_path": Path("/" + "x" * 300)}
    )
    monkeypatch.setattr(worker, "settings", debugging)
    job = {"id": "a", "input": {"workflow": graphs.text_to_image(checkpoint="none.safetensors")}}
    answer = asyncio.run(make_handler(worker)(job))
    assert answer["error_type"] == "workflow_validation"


def test_what_a_workflow_names(runtime: Runtime, models: Path) -> None:
    lora = safetensors(models / "loras" / "a.safetensors")
    embedding = safetensors(models / "embeddings" / "easy.safetensors")
    workflow = {
        "1": graphs.node("LoraLoader", lora_name="a.safetensors", model=["9", 0], clip=["9", 1], strength_model=1),
        "2": graphs.node("VAELoader", vae_name="pixel_space"),
        "3": graphs.node("CLIPTextEncode", text="(embedding:easy:1.2), embedding:gone, b.pt?", clip=["9", 1]),
        "4": graphs.node("NobodyKnows", file="a.safetensors", other="not/there.gguf"),
        "5": graphs.node("SaveImage", images=["9", 0], filename_prefix="checkpoints/x"),
    }
    found = [(entry.node_id, entry.name, entry.folder, entry.path) for entry in workflow_models(workflow, runtime)]
    choices = runtime.model_inputs("VAELoader")["vae_name"][1]
    assert found == [
        ("1", "a.safetensors", "loras", lora),
        *([] if "pixel_space" in choices else [("2", "pixel_space", "vae", None)]),
        ("3", "easy", "embeddings", embedding),
        ("3", "gone", "embeddings", None),
        ("4", "a.safetensors", "loras", lora),
        ("4", "not/there.gguf", None, None),
    ]


def test_a_name_does_not_lead_out_of_the_folders(runtime: Runtime, models: Path) -> None:
    safetensors(models / "secret.safetensors")
    (entry,) = workflow_models({"1": graphs.node("LoraLoader", lora_name="../secret.safetensors")}, runtime)
    assert entry.path is None


@pytest.mark.parametrize(
    ("place", "wanted", "hint"),
    [
        (
            "models/sdxl.safetensors",
            "sdxl.safetensors",
            "lies in {volume}/models, ComfyUI looks in {volume}/models/checkpoints",
        ),
        ("sdxl.safetensors", "sdxl.safetensors", "lies in {volume}, ComfyUI looks in {volume}/models/checkpoints"),
        ("models/loras/sdxl.safetensors", "sdxl.safetensors", "lies in {volume}/models/loras, ComfyUI looks in"),
        ("models/checkpoints/xl/sdxl.safetensors", "sdxl.safetensors", "must name it 'xl/sdxl.safetensors'"),
        ("models/checkpoints/SDXL.safetensors", "sdxl.safetensors", "must name it 'SDXL.safetensors'"),
        ("models/checkpoints/sdxl.ckpt", "sdxl.safetensors", "must name it 'sdxl.ckpt'"),
        ("models/checkpoints/sdxl_10.safetensors", "sdxl_1.0.safetensors", "there is 'sdxl_10.safetensors'"),
    ],
)
def test_near_misses(runtime: Runtime, volume: Path, place: str, wanted: str, hint: str) -> None:
    safetensors(volume / place)
    hint = hint.format(volume=volume, checkpoints=volume / "models" / "checkpoints")
    assert hint in "\n".join(near_misses(reference(wanted), runtime, volume, files_by_stem(runtime, volume)))


def test_nothing_near_is_no_hint(runtime: Runtime, volume: Path, models: Path) -> None:
    safetensors(models / "checkpoints" / "something.safetensors")
    assert near_misses(reference("sdxl.safetensors"), runtime, volume, files_by_stem(runtime, volume)) == []


def test_what_cannot_be_used_is_no_hint_and_hints_are_few(runtime: Runtime, volume: Path, models: Path) -> None:
    (models / "checkpoints").mkdir()
    (models / "checkpoints" / "SDXL.safetensors").symlink_to(models / "nowhere")
    for number in range(30):
        safetensors(models / f"copy{number}" / "sdxl.safetensors")
    hints = near_misses(reference("sdxl.safetensors"), runtime, volume, files_by_stem(runtime, volume))
    assert len(hints) == 10
    assert "must name it" not in "".join(hints)


@pytest.mark.parametrize("wanted", ["dead.safetensors", "Dead.ckpt"])
def test_a_link_to_nowhere_is_said_to_be_one(runtime: Runtime, volume: Path, models: Path, wanted: str) -> None:
    """ComfyUI lists it, and does not find it when it loads it."""
    (models / "checkpoints").mkdir()
    link = models / "checkpoints" / "dead.safetensors"
    link.symlink_to(models / "gone.safetensors")
    safetensors(models / "checkpoints" / "dead2.safetensors")
    hints = near_misses(reference(wanted), runtime, volume, files_by_stem(runtime, volume))
    assert hints == [f"{link} is a link to {models}/gone.safetensors, which is not there"]
    link.unlink()
    assert near_misses(reference(wanted), runtime, volume, files_by_stem(runtime, volume)) == [
        "there is 'dead2.safetensors'"
    ]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.ckpt", b"", "empty"),
        ("a.safetensors", b"", "empty"),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("a.safetensors", b"  <!DOCTYPE html><html>", "web page"),
        ("a.safetensors", b"PK\x03\x04 something else", "no safetensors"),
        ("a.safetensors", struct.pack("<Q", 4) + b"{]!}" + bytes(100), "header is damaged"),
        ("a.safetensors", struct.pack("<Q", 60_000) + b'{"a":' * 12_000 + bytes(100), "header is damaged"),
        ("a.safetensors.part", b"x", "not ended"),
        ("a.pt", b"PK\x03\x04", None),
    ],
)
def test_damage(tmp_path: Path, name: str, content: bytes, what: str | None) -> None:
    (tmp_path / name).write_bytes(content)
    found = damage(tmp_path / name)
    assert what in (found or "") if what else found is None


def test_damage_of_a_download_that_broke_off(tmp_path: Path) -> None:
    assert damage(safetensors(tmp_path / "whole.safetensors")) is None
    assert "it is cut off: 579 B of 1.1 KB" in str(damage(safetensors(tmp_path / "cut.safetensors", cut=500)))
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    assert "link" in str(damage(tmp_path / "gone.safetensors"))


@pytest.mark.timeout(20)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.ckpt"))
    (tmp_path / "folder.pt").mkdir()
    for path in tmp_path.iterdir():
        assert "it is no file" in str(damage(path)), path


def test_a_real_checkpoint_looks_well(tiny_checkpoint: Path) -> None:
    assert damage(tiny_checkpoint) is None


def test_sizes_as_people_read_them() -> None:
    assert [size_text(count) for count in (0, 999, 1000, 12_345_678, 6_938_078_334)] == [
        *("0 B", "999 B", "1.0 KB", "12.3 MB", "6.94 GB")
    ]


def test_the_diagnosis(runtime: Runtime, volume: Path, models: Path, base_dir: Path) -> None:
    safetensors(models / "checkpoints" / "xl" / "sdxl.safetensors", size=2_000_000)
    safetensors(models / "loras" / "style.pth")
    safetensors(models / "loras" / "cut.safetensors", cut=10)
    (models / "loras" / "readme.txt").write_text("hello")
    safetensors(models / "flat.safetensors")
    safetensors(models / "loraz" / "a.safetensors")
    safetensors(volume / "vae" / "a.safetensors")
    safetensors(models / "vae" / "same.safetensors")
    safetensors(base_dir / "models" / "vae" / "same.safetensors")
    (models / "ring").symlink_to(models)
    text = "\n".join(describe_volume(volume, runtime))
    assert "a folder of the container itself" in text
    assert "custom_nodes: 1 node pack(s), loaded" in text
    assert "checkpoints, in models/checkpoints: 1 file(s), 2.00 MB" not in text  # The header counts as well.
    assert "    2.0 MB  xl/sdxl.safetensors" in text
    assert "  style.pth" in text, "a .pth is a LoRA as any other"
    assert "cut.safetensors  (it is cut off: " in text
    assert "models/loras/readme.txt: loras takes .bin, .ckpt" in text
    assert f"models/flat.safetensors: it lies in {models}, ComfyUI looks in the folders below" in text
    assert "models/loraz/a.safetensors: there is no kind of model called 'loraz'; was 'loras' meant?" in text
    assert f"vae/a.safetensors: it lies in {volume}/vae, ComfyUI looks in {models}/vae" in text
    assert f"(not used: {base_dir}/models/vae/same.safetensors has the same name and comes first)" in text
    places = text.partition("ComfyUI looks on it in ")[2].split(", ")
    assert {"models/audio_encoders", "models/checkpoints", "models/clip"} <= set(places)
    (base_dir / "models" / "vae" / "same.safetensors").unlink()


def test_the_diagnosis_of_a_volume_that_is_not_there(runtime: Runtime, tmp_path: Path) -> None:
    (line,) = describe_volume(tmp_path / "none", runtime)
    assert "there is no" in line
    assert "NETWORK_VOLUME_PATH" in line


def missing_and_present(tmp_path: Path) -> Path:
    """A workflow file that names one model that is there, and one that lies in the wrong folder."""
    workflow = {
        "1": graphs.node("LoraLoaderModelOnly", lora_name="there.safetensors", model=["2", 0], strength_model=1),
        "2": graphs.node("CheckpointLoaderSimple", ckpt_name="sdxl.safetensors"),
        "3": graphs.node("PreviewAny", source=["1", 0]),
    }
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(workflow))
    return path


@pytest.fixture
def list_models(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """``models ARGUMENTS`` with the ComfyUI that is open: the exit code and what was printed.

    The tests of what an operator lays beside ComfyUI run the command as a process.
    """
    monkeypatch.setattr("worker.cli.models.Worker", lambda *_, **__: contextlib.nullcontext(worker))

    def run(*arguments: str | Path) -> tuple[int, str]:
        code = main(["models", *map(str, arguments)])
        return code, capsys.readouterr().out

    return run


def test_the_command_lists_what_is_there_and_what_is_not(
    list_models: Callable[..., tuple[int, str]], tmp_path: Path, models: Path
) -> None:
    lora = safetensors(models / "loras" / "there.safetensors")
    safetensors(models / "sdxl.safetensors")
    code, text = list_models(missing_and_present(tmp_path))
    assert code == 1
    assert "1.1 KB  there.safetensors" in text
    assert "missing  sdxl.safetensors  node 2 (CheckpointLoaderSimple) ckpt_name" in text
    assert "'sdxl.safetensors' lies in" in text
    assert "1 file(s) of 2, 1.1 KB; 1 missing or damaged" in text
    told = json.loads(list_models(missing_and_present(tmp_path), "--json")[1])
    assert [(entry["name"], entry["folder"], entry["path"], entry["problem"]) for entry in told] == [
        ("there.safetensors", "loras", str(lora), None),
        ("sdxl.safetensors", "checkpoints", None, "missing"),
    ]
    assert str(models / "checkpoints") in told[1]["looked_in"]


def test_the_command_on_what_it_cannot_use(
    command: Command, list_models: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "none.json").write_text(json.dumps(graphs.solid()))
    assert list_models(tmp_path / "none.json") == (0, "The workflow names no model file.\n")
    assert command("models", tmp_path / "gone.json").returncode == 2
    answer = command("models", tmp_path / "none.json", COMFY_BACKEND="websocket")
    assert answer.returncode == 3
    assert "run it at the server" in answer.stderr


def test_a_job_that_misses_a_model_is_explained_in_the_log(
    command: Command, tmp_path: Path, models: Path, volume: Path
) -> None:
    safetensors(models / "sdxl.safetensors")
    job: dict[str, Any] = {"input": {"workflow": json.loads(missing_and_present(tmp_path).read_text())}}
    environment = {"NETWORK_VOLUME_PATH": str(volume), "COMFY_LOG_LEVEL": "ERROR"}
    answer = command("--test_input", json.dumps(job), NETWORK_VOLUME_DEBUG="true", **environment)
    log = answer.stdout + answer.stderr
    assert log.count("Network volume:") == 2, "once at the start, once with the job"
    assert "'sdxl.safetensors' is not there; it belongs into" in log
    assert f"'sdxl.safetensors' lies in {models}, ComfyUI looks in {models}/checkpoints" in log
    assert str(models) not in json.dumps(json.loads(answer.stdout[answer.stdout.index("{\n") :])), "not in the answer"


def test_without_the_setting_nothing_is_explained(
    worker: Worker, tmp_path: Path, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    safetensors(models / "sdxl.safetensors")
    workflow = json.loads(missing_and_present(tmp_path).read_text())
    with caplog.at_level(logging.INFO):
        answer = asyncio.run(make_handler(worker)({"id": "quiet", "input": {"workflow": workflow}}))
    assert answer["error_type"] == "workflow_validation"
    assert "workflow_validation" in caplog.text, "the job has its line"
    assert "Network volume:" not in caplog.text
    assert "is not there" not in caplog.text
