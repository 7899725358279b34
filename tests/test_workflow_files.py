"""A workflow of ComfyUI's editor runs wherever an API graph does, also from the files that ComfyUI has written."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import graphs
import numpy as np
import pytest
from graphs import editors
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from worker import Worker
from worker.errors import InvalidJob, WorkflowRejected
from worker.handler import make_handler
from worker.job.from_python import load_request, make_job

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Graph = dict[str, Any]
BOTH = pytest.mark.backends("embedded", "websocket")


def api(color: int = 0x102030, width: int = 16) -> Graph:
    """What ``editors`` stands for."""
    return {
        "1": {"inputs": {"width": width, "height": 16, "batch_size": 1, "color": color},
              "class_type": "EmptyImage", "_meta": {"title": "Canvas"}},
        "2": {"inputs": {"filename_prefix": "ComfyUI", "images": ["1", 0]},
              "class_type": "SaveImage", "_meta": {"title": "Save Image"}},
    }  # fmt: skip


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@BOTH
def test_it_runs_from_python(worker: Worker, tmp_path: Path) -> None:
    for given in (editors(), {"input": {"workflow": editors()}}, write(tmp_path / "w.json", editors())):
        result = worker.run(given)
        assert result.errors == ()
        assert result.images[0].getpixel((0, 0)) == (0x10, 0x20, 0x30)


@BOTH
def test_it_runs_as_a_request_and_its_form_reaches_nodes(worker: Worker) -> None:
    workflow = editors()
    workflow["nodes"].append({"id": 5, "type": "TestShowsEditorData", "inputs": [], "outputs": []})
    answer = asyncio.run(make_handler(worker)({"id": "1", "input": {"workflow": workflow}}))
    assert [entry["node_id"] for entry in answer["images"]] == ["2"]
    assert json.loads(answer["text"][0]["text"]) == {"workflow": workflow}


def test_files_carry_both_forms(worker: Worker) -> None:
    given = {"input": {"workflow": editors(), "save_metadata": True}}
    texts = worker.run(given).images[0].info
    assert {name: json.loads(texts[name]) for name in ("prompt", "workflow")} == {
        "prompt": api(),
        "workflow": editors(),
    }


def test_a_caller_may_send_another_form_along(worker: Worker) -> None:
    own: dict[str, Any] = {"workflow": {"nodes": [], "links": []}}
    given = {"workflow": editors(), "extra_data": {"extra_pnginfo": own}, "save_metadata": True}
    assert json.loads(worker.run({"input": given}).images[0].info["workflow"]) == own["workflow"]


@BOTH
def test_what_does_not_fit_is_an_answer(worker: Worker) -> None:
    workflow = editors()
    workflow["nodes"][0]["widgets_values"] = ["wide", 16, 1, 0]
    workflow["nodes"].append({"id": 9, "type": "NoSuchClass", "title": "Mine", "inputs": [], "outputs": []})
    request = {"workflow": workflow, "images": [{"name": "a.png", "image": "x"}]}
    answer = asyncio.run(make_handler(worker)({"id": "1", "input": request}))
    assert answer["error_type"] == "workflow_validation"
    assert "Node 1 (EmptyImage, 'Canvas'): width is \"wide\", and must be a whole number" in answer["error"]
    assert "Node 9 (NoSuchClass, 'Mine'): this node class is not installed" in answer["error"]
    assert "warnings" not in answer, "nobody knows yet which files the nodes name"


@BOTH
def test_all_node_classes_of_the_tests_can_be_converted(worker: Worker) -> None:
    """No class of a pack breaks the conversion, whatever it declares."""
    for class_type in ("TestShowsText", "TestShowsEditorData", "KSampler", "LoadImage", "CLIPTextEncode"):
        workflow: dict[str, Any] = {"nodes": [{"id": 1, "type": class_type, "inputs": [], "outputs": []}], "links": []}
        assert worker.converted(make_job(workflow)).workflow["1"]["class_type"] == class_type


def test_a_file_that_is_too_deep_is_refused() -> None:
    workflow = editors() | {"extra": {"x": json.loads("[" * 101 + "]" * 101)}}
    with pytest.raises(InvalidJob, match="'workflow' is nested more than 100 levels deep"):
        make_job(workflow)


# Files that carry a workflow.


def carrying_png(texts: dict[str, str]) -> bytes:
    info, buffer = PngInfo(), io.BytesIO()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def carrying_exif(texts: dict[str, str], kind: str) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    for tag, (name, text) in zip((0x0110, 0x010F), texts.items(), strict=False):
        exif[tag] = f"{name}:{text}"
    Image.new("RGB", (4, 4)).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def carrying_sound(texts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as file:
        file.metadata.update(texts)
        stream: Any = file.add_stream("flac", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return buffer.getvalue()


def carrying_video(texts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"movflags": "use_metadata_tags"}) as file:
        file.metadata.update(texts)
        stream: Any = file.add_stream("h264", rate=8)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode())
    return buffer.getvalue()


def carrying_comment(texts: dict[str, str]) -> bytes:
    """As VideoHelperSuite writes it."""
    return carrying_video({"comment": json.dumps({name: json.loads(text) for name, text in texts.items()})})


CARRIERS: dict[str, Callable[[dict[str, str]], bytes]] = {
    "png": carrying_png,
    "webp": lambda texts: carrying_exif(texts, "WEBP"),
    "jpg": lambda texts: carrying_exif(texts, "JPEG"),
    "flac": carrying_sound,
    "mp4": carrying_video,
    "comment.mp4": carrying_comment,
}


@pytest.mark.parametrize("kind", CARRIERS)
def test_a_file_gives_what_ran_or_else_the_editors_form(kind: str, tmp_path: Path) -> None:
    carrier, path = CARRIERS[kind], tmp_path / f"a.{kind}"
    path.write_bytes(carrier({"prompt": json.dumps(api()), "workflow": json.dumps(editors())}))
    assert load_request(path) == api()
    path.write_bytes(carrier({"workflow": json.dumps(editors())}))
    assert load_request(path) == editors()
    assert make_job(path).editor == editors()
    path.write_bytes(carrier({}))
    with pytest.raises(InvalidJob, match="carries no workflow"):
        load_request(path)
    path.write_bytes(carrier({})[:40])
    with pytest.raises(InvalidJob, match=r"is a damaged|carries no workflow"):
        load_request(path)


@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n", b"RIFF\x04\0\0\0WEBP"])
def test_a_damaged_picture_is_told_in_plain_words(head: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "a.png").write_bytes(head)
    with pytest.raises(InvalidJob, match=r"a\.png is a damaged (PNG|picture): it cannot be identified$"):
        load_request(path)


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
def test_pictures_of_this_worker_give_their_workflow_back(worker: Worker, tmp_path: Path, output_format: str) -> None:
    given = {"workflow": editors(0x405060), "output_format": output_format, "save_metadata": True}
    (path,) = worker.run({"input": given}).save(tmp_path)
    assert load_request(path) == api(0x405060)


# The command line.


def test_convert_prints_one_graph(command: Command, as_client: dict[str, str], tmp_path: Path) -> None:
    told = command("convert", write(tmp_path / "w.json", editors()), **as_client)
    assert (told.returncode, json.loads(told.stdout)) == (0, api())


def test_convert_goes_on_after_a_refusal(command: Command, as_client: dict[str, str], tmp_path: Path) -> None:
    bad = editors()
    bad["nodes"][0]["type"] = "NoSuchClass"
    (tmp_path / "other").mkdir()
    (tmp_path / "photo.png").write_bytes(carrying_png({"workflow": json.dumps(editors(width=24))}))
    files = [
        write(tmp_path / "bad.json", bad), tmp_path / "none.json", write(tmp_path / "w.json", editors()),
        tmp_path / "photo.png", write(tmp_path / "other" / "w.json", graphs.solid()),
    ]  # fmt: skip
    told = command("convert", *files, "--out", tmp_path / "out", **as_client)
    assert told.returncode == 1
    assert f"{files[0]}: Workflow validation failed:\n• Node 1 (NoSuchClass, 'Canvas')" in told.stderr
    assert f"worker: {files[1]} cannot be read" in told.stderr
    made = {path.name: json.loads(path.read_text()) for path in (tmp_path / "out").iterdir()}
    assert made == {"w.json": api(), "photo.json": api(width=24), "w-2.json": graphs.solid()}
    assert told.stdout.split() == [str(tmp_path / "out" / name) for name in ("w.json", "photo.json", "w-2.json")]


def test_convert_overwrites_no_file_that_it_reads(command: Command, tmp_path: Path) -> None:
    path = write(tmp_path / "w.json", graphs.solid())
    told = command("convert", path, "--out", tmp_path)
    assert told.returncode == 2
    assert "would be overwritten" in told.stderr
    assert json.loads(path.read_text()) == graphs.solid()


def test_convert_wants_a_folder_for_several(command: Command, tmp_path: Path) -> None:
    told = command("convert", tmp_path / "a.json", tmp_path / "b.json")
    assert told.returncode == 2
    assert "--out names the folder" in told.stderr


def test_run_takes_a_file_of_the_editor_and_changes(
    command: Command, as_client: dict[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path / "w.json", editors())
    told = command("run", path, "--set", "Canvas.width=32", "--out", tmp_path / "out", **as_client)
    assert told.returncode == 0, told.stderr
    with Image.open(told.stdout.strip()) as picture:
        assert picture.size == (32, 16)
    told = command("run", path, "--set", "Nobody.width=32", "--out", tmp_path / "out", **as_client)
    assert told.returncode == 2
    assert "there is no node 'Nobody'" in told.stderr


def test_models_takes_a_file_of_the_editor(command: Command, tmp_path: Path) -> None:
    loader = {
        "id": 1,
        "type": "CheckpointLoaderSimple",
        "inputs": [],
        "outputs": [],
        "widgets_values": ["no.safetensors"],
    }
    told = command("models", write(tmp_path / "w.json", {"nodes": [loader], "links": []}), "--json")
    assert told.returncode == 1, told.stderr
    assert [entry["name"] for entry in json.loads(told.stdout)] == ["no.safetensors"]
    loader["type"] = "NoSuchClass"
    told = command("models", write(tmp_path / "w.json", {"nodes": [loader], "links": []}), COMFY_ARGS="--cpu")
    assert told.returncode == 2
    assert "Node 1 (NoSuchClass): this node class is not installed" in told.stderr


def test_a_rejection_is_an_error_in_python(worker: Worker) -> None:
    with pytest.raises(WorkflowRejected, match="NoSuchClass"):
        worker.run({"nodes": [{"id": 1, "type": "NoSuchClass", "inputs": [], "outputs": []}], "links": []})
