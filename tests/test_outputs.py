"""What workflows save arrives, whatever it is: ComfyUI's own save nodes, run for real, and their files opened."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import graphs
import pytest
from PIL import Image
from safetensors.torch import load as load_safetensors

from worker import Worker
from worker.answer.reply import Answer
from worker.handler import make_handler
from worker.remote.api import ServerClasses

Ask = Callable[..., Answer]

pytestmark = pytest.mark.backends("embedded", "websocket")


@pytest.fixture
def ask(worker: Worker) -> Ask:
    """Gives a workflow to the handler, twice, and returns the answer, which is the same both times."""

    def run(graph: dict[str, Any], **more: Any) -> Answer:
        handle = make_handler(worker)
        first, second = (
            asyncio.run(handle({"id": "job", "input": {"workflow": json.loads(json.dumps(graph)), **more}}))
            for _ in range(2)
        )
        assert set(first) == set(second)
        for kind in ("images", "files", "text"):
            assert len(first.get(kind, [])) == len(second.get(kind, [])), "never an empty answer"
        return first

    return run


def needs(worker: Worker, *class_types: str) -> None:
    """Skip where this version of ComfyUI lacks a node."""
    source: Any = worker.runtime or ServerClasses(getattr(worker._backend, "api"))  # noqa: B009 - no other backend has it.
    for class_type in class_types:
        if not source.has_node_class(class_type):
            pytest.skip(f"this version of ComfyUI has no {class_type}")


def content(entry: dict[str, str]) -> io.BytesIO:
    """A file of an answer."""
    return io.BytesIO(base64.b64decode(entry["data"], validate=True))


def all_files(answer: Answer) -> list[dict[str, str]]:
    """Every file of an answer, under whatever key it came."""
    return [*answer["images"], *answer.get("files", [])]


def frames(count: int = 3) -> dict[str, Any]:
    """Nodes 1 and 2: images of two colours; node 3: them in a batch of ``count``."""
    graph = {
        "1": graphs.node("EmptyImage", width=64, height=48, batch_size=1, color=0xFF0000),
        "2": graphs.node("EmptyImage", width=64, height=48, batch_size=count - 1, color=0x0000FF),
    }
    return graph | {"3": graphs.node("ImageBatch", image1=["1", 0], image2=["2", 0])}


def silence(seconds: float = 1.0) -> dict[str, Any]:
    """Node 1: audio."""
    return {"1": graphs.node("EmptyAudio", duration=seconds, sample_rate=44100, channels=2)}


def test_animated_webp_and_png(ask: Ask, worker: Worker) -> None:
    graph = frames() | {
        "8": graphs.node(
            "SaveAnimatedWEBP",
            images=["3", 0],
            filename_prefix="a",
            fps=4.0,
            lossless=True,
            quality=90,
            method="default",
        ),
        "9": graphs.node("SaveAnimatedPNG", images=["3", 0], filename_prefix="b", fps=4.0, compress_level=4),
    }
    answer = ask(graph)
    webp, png = (Image.open(content(entry)) for entry in answer["images"])
    assert [entry["media_type"] for entry in answer["images"]] == ["image/webp", "image/png"]
    assert (webp.format, png.format) == ("WEBP", "PNG")
    for image in (webp, png):
        assert image.size == (64, 48)
        assert getattr(image, "n_frames", 1) >= 2
    assert webp.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(("codec", "suffix"), [("mp4", ".mp4"), ("webm", ".webm")])
def test_videos(ask: Ask, worker: Worker, codec: str, suffix: str) -> None:
    needs(worker, "CreateVideo", "SaveVideo", "SaveWEBM")
    graph = frames(6)
    if codec == "mp4":
        graph["4"] = graphs.node("CreateVideo", images=["3", 0], fps=3.0)
        graph["9"] = graphs.node("SaveVideo", video=["4", 0], filename_prefix="video/clip", format="auto", codec="auto")
    else:
        graph["9"] = graphs.node("SaveWEBM", images=["3", 0], filename_prefix="clip", codec="vp9", fps=3.0, crf=32.0)
    (entry,) = ask(graph)["images"]
    assert entry["filename"] == f"clip_00001_{suffix}"
    assert entry["media_type"] == f"video/{codec}"
    with av.open(content(entry), "r") as video:
        decoded = list(video.decode(video=0))
        assert (len(decoded), decoded[0].width, decoded[0].height) == (6, 64, 48)
        assert decoded[-1].time == pytest.approx(5 / 3, abs=0.1)


@pytest.mark.parametrize(
    ("class_type", "more", "suffix", "media_type"),
    [
        ("SaveAudio", {}, ".flac", "audio/flac"),
        ("SaveAudioMP3", {"quality": "128k"}, ".mp3", "audio/mpeg"),
        ("SaveAudioOpus", {"quality": "64k"}, ".opus", "audio/ogg"),
    ],
)
def test_audio(ask: Ask, worker: Worker, class_type: str, more: dict[str, Any], suffix: str, media_type: str) -> None:
    needs(worker, "EmptyAudio", class_type)
    answer = ask(silence(1.5) | {"2": graphs.node(class_type, audio=["1", 0], filename_prefix="audio/sound", **more)})
    assert answer["images"] == []
    (entry,) = answer["files"]
    number = "00001" if worker.runtime is not None else r"\d{5}"
    assert re.fullmatch(rf"sound_{number}_?{re.escape(suffix)}", entry["filename"]), "as this version of ComfyUI has it"
    assert (entry["media_type"], entry["node_id"]) == (media_type, "2")
    with av.open(content(entry), "r") as audio:
        seconds = sum(frame.samples / frame.sample_rate for frame in audio.decode(audio=0))
    assert seconds == pytest.approx(1.5, abs=0.1)


def test_a_latent(ask: Ask) -> None:
    graph = {
        "1": graphs.node("EmptyLatentImage", width=64, height=32, batch_size=2),
        "2": graphs.node("SaveLatent", samples=["1", 0], filename_prefix="latents/ComfyUI"),
    }
    (entry,) = ask(graph)["files"]
    assert entry["filename"] == "ComfyUI_00001_.latent"
    assert tuple(load_safetensors(content(entry).getvalue())["latent_tensor"].shape) == (2, 4, 4, 8)


def test_a_mesh(ask: Ask, worker: Worker) -> None:
    needs(worker, "VoxelToMeshBasic", "SaveGLB", "TestMakesVoxels")
    graph = {
        "1": graphs.node("TestMakesVoxels"),
        "2": graphs.node("VoxelToMeshBasic", voxel=["1", 0], threshold=0.5),
        "3": graphs.node("SaveGLB", mesh=["2", 0], filename_prefix="mesh/ComfyUI"),
    }
    (entry,) = ask(graph)["files"]
    assert entry["media_type"] == "model/gltf-binary"
    magic, version, length = struct.unpack("<4sII", content(entry).read(12))
    assert (magic, version, length) == (b"glTF", 2, len(content(entry).getvalue()))


def test_a_drawing(ask: Ask, worker: Worker) -> None:
    needs(worker, "SaveSVGNode")
    graph = {"1": graphs.node("TestMakesSVG"), "2": graphs.node("SaveSVGNode", svg=["1", 0], filename_prefix="svg/x")}
    answer = ask(graph)
    (entry,) = all_files(answer)
    assert (entry["filename"], entry["media_type"]) == ("x_00001_.svg", "image/svg+xml")
    assert b"<svg" in content(entry).read()


@pytest.mark.parametrize(
    ("class_type", "inputs", "media_type", "start"),
    [
        ("SaveText", {"text": ["1", 0], "format": "txt"}, "text/plain", b"hello"),
        ("SaveImageAdvanced", {"images": ["2", 0], "format": "png", "format.bit_depth": "16-bit",
                               "format.input_color_space": "sRGB"}, "image/png", b"\x89PNG"),
        ("SaveAudioAdvanced", {"audio": ["3", 0], "format": "flac"}, "audio/flac", b"fLaC"),
    ],
)  # fmt: skip
def test_nodes_of_newer_versions(
    ask: Ask, worker: Worker, class_type: str, inputs: dict[str, Any], media_type: str, start: bytes
) -> None:
    needs(worker, class_type, "PrimitiveString")
    graph = {
        "1": graphs.node("PrimitiveString", value="hello"),
        "2": graphs.node("EmptyImage", width=32, height=32, batch_size=1, color=5),
        "3": graphs.node("EmptyAudio", duration=1.0, sample_rate=44100, channels=2),
        "9": graphs.node(class_type, filename_prefix="new", **inputs),
    }
    answer = ask(graph)
    (entry,) = all_files(answer)
    assert entry["media_type"] == media_type
    assert content(entry).read().startswith(start)


def test_text_previews(ask: Ask, worker: Worker) -> None:
    needs(worker, "PreviewAny", "PrimitiveInt")
    graph = {"1": graphs.node("PrimitiveInt", value=42), "2": graphs.node("PreviewAny", source=["1", 0])}
    assert ask(graph) == {"status": "success_no_images", "images": [], "text": [{"node_id": "2", "text": "42"}]}


@pytest.mark.backends("embedded")
def test_a_checkpoint_that_no_node_names(ask: Ask, worker: Worker, tiny_checkpoint: Path) -> None:
    graph = {
        "1": graphs.node("CheckpointLoaderSimple", ckpt_name=tiny_checkpoint.name),
        "2": graphs.node("VAESave", vae=["1", 2], filename_prefix="vae/mine"),
    }
    (entry,) = ask(graph)["files"]
    assert (entry["filename"], entry["node_id"]) == ("mine_00001_.safetensors", "2")
    assert load_safetensors(content(entry).getvalue())


def test_several_nodes_with_one_prefix_and_subfolders(ask: Ask, worker: Worker) -> None:
    graph = graphs.solid(1, batch=2)
    graph["5"] = graphs.node("EmptyImage", width=64, height=64, batch_size=2, color=2)
    graph["3"] = graphs.node("SaveImage", images=["5", 0], filename_prefix="ComfyUI")
    graph["4"] = graphs.node("SaveImage", images=["1", 0], filename_prefix="a/b/%width%x%height%")
    images = ask(graph)["images"]
    assert [entry["node_id"] for entry in images] == ["2", "2", "3", "3", "4", "4"]
    names = sorted(entry["filename"] for entry in images)
    assert len(set(names)) == 6
    if worker.runtime is not None:
        assert names == [
            "64x64_00001_.png",
            "64x64_00002_.png",
            *(f"ComfyUI_0000{count}_.png" for count in (1, 2, 3, 4)),
        ]


def test_list_outputs(ask: Ask, worker: Worker) -> None:
    needs(worker, "RebatchImages")
    graph = frames(4) | {
        "4": graphs.node("RebatchImages", images=["3", 0], batch_size=1),
        "5": graphs.node("SaveImage", images=["4", 0], filename_prefix="one"),
    }
    images = ask(graph)["images"]
    assert [entry["filename"] for entry in images] == [f"one_0000{number}_.png" for number in (1, 2, 3, 4)]


def test_any_key_and_kind_of_a_custom_node(ask: Ask) -> None:
    kinds = {"gifs": "a.gif", "files": "b.bin", "3d": "c.obj", "a_images": "d.png"}
    graph = {
        str(index): graphs.node("TestSavesFile", key=key, subfolder="x", filename=name, content=name)
        for index, (key, name) in enumerate(kinds.items())
    }
    assert [(entry["filename"], content(entry).read().decode()) for entry in ask(graph)["files"]] == [
        (name, name) for name in kinds.values()
    ]
