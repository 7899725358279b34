"""Models that RunPod has cached for the endpoint: which ComfyUI finds, where, and what is said of them."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import graphs
import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import save_file

from worker import Worker
from worker.embedded.files.cached_models import CachedModels, hub_of
from worker.environment.places import Places
from worker.models.cached.header import kind_of
from worker.models.cached.hub import HUB, cached_files
from worker.models.references import ModelFolder
from worker.models.volume import describe_volume

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_TAKES = frozenset((".safetensors", ".sft", ".pt", ".ckpt"))
FOLDERS = [
    ModelFolder(name, (Path("/models") / name,), _TAKES)
    for name in ("checkpoints", "loras", "vae", "text_encoders", "controlnet", "upscale_models", "clip_vision")
] + [ModelFolder("diffusion_models", (Path("/models/unet"), Path("/models/diffusion_models")), _TAKES)]


def put(hub: Path, repository: str, inside: str, *keys: str, source: Path | None = None) -> Path:
    """Put a file into a repository, as the platform's downloader does."""
    root = hub / f"models--{repository.replace('/', '--')}"
    blob = root / "blobs" / f"{abs(hash((repository, inside))):064x}"
    link = root / "snapshots" / COMMIT / inside
    for folder in (blob.parent, link.parent, root / "refs"):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(COMMIT)
    if source is not None:
        shutil.copyfile(source, blob)
    elif keys:
        save_file({key: torch.zeros(1) for key in keys}, blob)
    else:
        blob.write_text("{}")
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


def found(hub: Path, folders: Sequence[ModelFolder] = FOLDERS) -> dict[str, tuple[str | None, str]]:
    """The folder and the name of each file, by its path in its repository."""
    return {file.inside: (file.folder, file.name) for file in cached_files(hub, folders)}


def test_layouts_of_repositories(tmp_path: Path) -> None:
    comfy, plain = "Comfy-Org/Wan_repackaged", "someone/anime"
    put(tmp_path, comfy, "split_files/diffusion_models/wan.safetensors", "blocks.0.self_attn.q.weight")
    put(tmp_path, comfy, "split_files/text_encoders/umt5.safetensors", "nothing that is known")
    put(tmp_path, comfy, "split_files/vae/wan_vae.safetensors", "nothing that is known")
    put(tmp_path, comfy, "README.md")
    put(tmp_path, plain, "anime.safetensors", "model.diffusion_model.a", "first_stage_model.b")
    put(tmp_path, plain, "unet/x.safetensors", "a")
    put(tmp_path, plain, "detail.safetensors", "lora_unet_a.lora_down.weight")
    put(tmp_path, plain, "strange.safetensors", "a")
    put(tmp_path, plain, "old.ckpt", "a")
    put(tmp_path, plain, "big-00001-of-00002.safetensors", "model.layers.0.self_attn.q")
    assert found(tmp_path) == {
        "split_files/diffusion_models/wan.safetensors": ("diffusion_models", "wan.safetensors"),
        "split_files/text_encoders/umt5.safetensors": ("text_encoders", "umt5.safetensors"),
        "split_files/vae/wan_vae.safetensors": ("vae", "wan_vae.safetensors"),
        "anime.safetensors": ("checkpoints", "anime.safetensors"),
        "unet/x.safetensors": ("diffusion_models", "x.safetensors"),
        "detail.safetensors": ("loras", "detail.safetensors"),
        "strange.safetensors": (None, "strange.safetensors"),
        "old.ckpt": (None, "old.ckpt"),
        "big-00001-of-00002.safetensors": (None, "big-00001-of-00002.safetensors"),
    }


def test_the_diffusers_layout_is_told(tmp_path: Path) -> None:
    put(tmp_path, "stabilityai/sdxl", "model_index.json")
    put(tmp_path, "stabilityai/sdxl", "unet/diffusion_pytorch_model.safetensors", "down_blocks.0.a")
    put(tmp_path, "stabilityai/sdxl", "sd_xl.safetensors", "model.diffusion_model.a", "conditioner.b")
    files = {file.inside: file for file in cached_files(tmp_path, FOLDERS)}
    assert files["sd_xl.safetensors"].folder == "checkpoints"
    assert files["unet/diffusion_pytorch_model.safetensors"].folder is None
    assert "does not load files of the diffusers layout" in files["unet/diffusion_pytorch_model.safetensors"].remark


def test_equal_names_and_revisions(tmp_path: Path) -> None:
    put(tmp_path, "a/one", "x.safetensors", "lora_unet_a.lora_down.weight")
    put(tmp_path, "b/two", "x.safetensors", "lora_unet_a.lora_up.weight")
    newer = tmp_path / "models--a--one" / "snapshots" / ("f" * 40)
    newer.mkdir()
    (newer / "y.safetensors").symlink_to("../nothing")
    files = cached_files(tmp_path, FOLDERS)
    assert [(file.repository, file.name) for file in files] == [
        ("a/one", "x.safetensors"),
        ("b/two", "two/x.safetensors"),
    ]
    (tmp_path / "models--a--one" / "refs" / "main").write_text("../../../../etc")
    (first, _) = cached_files(tmp_path, FOLDERS)
    assert (first.folder, first.remark) == (None, "it is a link that leads out of its repository, or nowhere")


def test_links_that_lead_elsewhere(tmp_path: Path) -> None:
    hub, secret = tmp_path / "hub", tmp_path / "secret.safetensors"
    save_file({"lora_unet_a.lora_down.weight": torch.zeros(1)}, secret)
    good = put(hub, "a/b", "loras/good.safetensors", "a")
    put(hub, "a/c", "loras/other.safetensors", "a")
    for name, target in (
        ("out", secret),
        ("relative", Path("../../../../../secret.safetensors")),
        ("neighbour", Path("../../../../models--a--c/snapshots") / COMMIT / "loras/other.safetensors"),
        ("nowhere", Path("x")),
    ):
        (good.parent / f"{name}.safetensors").symlink_to(target)
    (good.parents[1] / "more").symlink_to(tmp_path, target_is_directory=True)
    shown = {file.path.name: file.folder for file in cached_files(hub, FOLDERS) if file.repository == "a/b"}
    assert {name for name, folder in shown.items() if folder} == {"good.safetensors"}
    assert {"out.safetensors", "relative.safetensors", "neighbour.safetensors", "secret.safetensors"} <= set(shown)


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (("model.diffusion_model.a", "first_stage_model.b"), "checkpoints"),
        (("model.diffusion_model.a",), "diffusion_models"),
        (("double_blocks.0.img_attn.qkv.weight",), "diffusion_models"),
        (("transformer_blocks.0.a",), "diffusion_models"),
        (("diffusion_model.blocks.0.q.lora_A.weight",), "loras"),
        (("lora_te_a.hada_w1_a",), "loras"),
        (("control_model.a",), "controlnet"),
        (("controlnet_cond_embedding.a",), "controlnet"),
        (("decoder.conv_in.weight", "encoder.conv_in.weight"), "vae"),
        (("decoder.conv1.weight", "encoder.conv1.weight"), "vae"),
        (("text_model.encoder.layers.0.a",), "text_encoders"),
        (("encoder.block.0.layer.0.SelfAttention.q.weight",), "text_encoders"),
        (("model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"), "text_encoders"),
        (("vision_model.encoder.layers.0.a",), "clip_vision"),
        (("conv_first.weight",), "upscale_models"),
        (("a",), None),
    ],
)
def test_what_headers_tell(tmp_path: Path, keys: tuple[str, ...], kind: str | None) -> None:
    file = tmp_path / "x.safetensors"
    save_file({key: torch.zeros(1) for key in keys}, file)
    assert kind_of(file) == kind


def test_other_headers(tmp_path: Path, tiny_checkpoint: Path) -> None:
    assert kind_of(tiny_checkpoint) == "checkpoints"
    for name, kind in (("flux", "diffusion_models"), ("t5", "text_encoders"), ("strange", None)):
        file = tmp_path / "x.gguf"
        text = name.encode()
        file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 20) + b"general.architecture"
                         + struct.pack("<IQ", 8, len(text)) + text)  # fmt: skip
        assert kind_of(file) == kind
    for content in (b"", b"GGUF", b"\xff" * 100, struct.pack("<Q", 4) + b"[1]]", struct.pack("<Q", 2) + b"[]"):
        for ending in (".safetensors", ".gguf"):
            file = (tmp_path / "broken").with_suffix(ending)
            file.write_bytes(content)
            assert kind_of(file) is None


def test_without_a_cache_nothing_happens(tmp_path: Path) -> None:
    cached = CachedModels(hub_of(tmp_path, is_on=True), tmp_path / "links")
    cached.add_to(None)
    assert cached.files == ()
    put(tmp_path / HUB, "a/b", "loras/x.safetensors", "a")
    off = CachedModels(hub_of(tmp_path, is_on=False), tmp_path / "links")
    off.add_to(None)
    assert off.files == ()


def test_prepare_finds_them(tmp_path: Path) -> None:
    path = put(tmp_path, "a/b", "unet/x.safetensors", "a")
    places = Places(FOLDERS, (), cached=cached_files(tmp_path, FOLDERS))
    assert places.find("diffusion_models", "x.safetensors") == path
    assert places.find(None, "x.safetensors") == path
    assert places.find("loras", "x.safetensors") is None


def test_the_diagnosis_names_them(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / HUB, "a/b", "loras/x.safetensors", "a")
    put(tmp_path / HUB, "a/b", "strange.safetensors", "a")
    runtime = worker.embedded_runtime()
    monkeypatch.setattr(runtime.cached, "files", tuple(cached_files(tmp_path / HUB, runtime.model_folders())))
    text = "\n".join(describe_volume(tmp_path, runtime))
    assert "loras: x.safetensors  (of a/b, loras/x.safetensors, at 0123456789ab; by its folder loras)" in text
    assert "not shown: a/b, strange.safetensors, at 0123456789ab: its header does not tell" in text
    assert "ComfyUI does not find" not in text


def test_a_workflow_runs_on_a_cached_model(
    tmp_path: Path, tiny_checkpoint: Path, command: Callable[..., subprocess.CompletedProcess[str]], worker: Worker
) -> None:
    path = put(tmp_path / HUB, "someone/tiny", "cached.safetensors", source=tiny_checkpoint)
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(graphs.decoded("cached.safetensors")))
    places = {"NETWORK_VOLUME_PATH": str(tmp_path)}
    listed = command("models", workflow, "--json", timeout=300, **places)
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)[0]["path"] == str(path)
    ran = command("run", workflow, "--out", tmp_path / "out", timeout=300, **places)
    assert ran.returncode == 0, ran.stderr
    expected = worker.run(graphs.decoded("tiny-sd.safetensors")).images[0]
    with Image.open(next((tmp_path / "out").glob("*.png"))) as picture:
        assert ImageChops.difference(picture.convert("RGB"), expected.convert("RGB")).getbbox() is None
    off = command("models", workflow, "--json", timeout=300, CACHED_MODELS="off", **places)
    assert json.loads(off.stdout)[0]["path"] is None
