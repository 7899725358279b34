"""Nodes, packs, files and machines that misbehave: what the answer is, and that the next job is right."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
from PIL import Image
from runpod_api import JobApi
from runpod_worker import Start, sleeping
from s3_server import KEYS, FaultyS3, s3_server

from worker import Worker
from worker.handler import make_handler

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def ask(worker: Worker, workflow: graphs.Graph, **more: Any) -> Any:
    """The answer of the real handler."""
    return asyncio.run(make_handler(worker)({"id": "job", "input": {"workflow": workflow, **more}}))


@pytest.fixture
def good(worker: Worker) -> Iterator[Any]:
    """A good job's answer before the test; after it, the same job must give the same pixels."""
    here, arguments = Path.cwd(), list(sys.argv)
    before = ask(worker, graphs.solid(0x336699))
    yield before
    assert ask(worker, graphs.solid(0x336699)) == before
    os.chdir(here)
    sys.argv[:] = arguments


def picture_names(answer: Any) -> list[str]:
    """The files of an answer that has pictures and nothing else."""
    assert set(answer) == {"images"}, answer
    return [image["filename"] for image in answer["images"]]


def deed(name: str, count: int = 0) -> graphs.Graph:
    """A picture behind a node that does something it should not."""
    return graphs.through("TestMisbehaves", deed=name, count=count)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (graphs.through("TestRaises"), "Node Type: TestRaises, Node ID: 3"),
        (graphs.through("TestRaises", kind="SystemExit"), "SystemExit"),
        (graphs.through("TestRaises", kind="KeyboardInterrupt"), "KeyboardInterrupt"),
        (deed("raises_base_exception"), "Odd: odd"),
        (deed("recurses"), "recursion"),
        (graphs.through("TestReturns", kind="none"), "Node Type: "),
        (graphs.through("TestReturns", kind="nothing"), "Node Type: "),
        (graphs.through("TestReturns", kind="shape"), "Node Type: SaveImage"),
        (graphs.through("TestReturns", kind="text"), "Node Type: SaveImage"),
    ],
)
def test_a_node_that_fails(worker: Worker, good: Any, graph: graphs.Graph, expected: str) -> None:
    answer = ask(worker, graph)
    assert answer["error"] == "Job processing failed"
    assert answer["error_type"] == "workflow_execution"
    assert expected.lower() in json.dumps(answer["details"]).lower()


@pytest.mark.parametrize(
    "graph",
    [
        graphs.through("TestReturns", kind="nan"),
        deed("floods_log", 20_000),
        deed("prints_base64", 20),
        deed("patches"),
        deed("leaves_threads", 50),
        deed("changes_directory"),
    ],
    ids=["nan", "floods_log", "prints_base64", "patches", "leaves_threads", "changes_directory"],
)
def test_a_node_that_does_something_odd(
    worker: Worker, good: Any, graph: graphs.Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch, "load", torch.load)  # Put back after the node that takes it away.
    assert picture_names(ask(worker, graph)) == ["ComfyUI_00001_.png"]


def test_a_node_that_removes_the_output_folder(worker: Worker, good: Any) -> None:
    """The picture is saved after it: into a folder that is made again."""
    assert picture_names(ask(worker, deed("removes_output"))) == ["ComfyUI_00001_.png"]


def test_a_node_that_leaves_ten_thousand_files(worker: Worker, good: Any) -> None:
    start = time.monotonic()
    answer = ask(worker, deed("leaves_files", 10_000))
    assert [image["filename"] for image in answer["images"]] == ["ComfyUI_00001_.png"]
    assert len(answer["files"]) == 10_000, "they lie in the job's own folder, so they are the job's"
    assert time.monotonic() - start < 60
    assert not any(worker.state.output.iterdir())


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "missing"])
def test_a_checkpoint_that_cannot_be_loaded(worker: Worker, good: Any, tiny_checkpoint: Path, damage: str) -> None:
    path = tiny_checkpoint.with_name(f"{damage}.safetensors")
    content = {"truncated": tiny_checkpoint.read_bytes()[:1_000_000], "garbage": b"garbage" * 1000, "empty": b""}
    if damage in content:
        path.write_bytes(content[damage])
    try:
        answer = ask(worker, graphs.text_to_image(checkpoint=path.name))
    finally:
        path.unlink(missing_ok=True)
    assert "error" in answer
    assert str(tiny_checkpoint.parent) not in json.dumps(answer)
    assert answer["error_type"] == ("workflow_validation" if damage == "missing" else "workflow_execution")


def test_a_lora_for_another_model(worker: Worker, good: Any, tiny_checkpoint: Path, base_dir: Path) -> None:
    """ComfyUI logs the keys that it cannot place, and goes on; so does the job."""
    import torch
    from safetensors.torch import save_file

    lora = base_dir / "models" / "loras" / "other.safetensors"
    lora.parent.mkdir(exist_ok=True)
    names = [f"lora_unet_other_{number}.lora_{kind}.weight" for number in range(3) for kind in ("up", "down")]
    save_file({name: torch.zeros(4, 4) for name in names}, lora)
    graph = graphs.text_to_image(seed=5)
    sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")
    graph["lora"] = graphs.node("LoraLoaderModelOnly", model=sampler["inputs"]["model"], lora_name=lora.name,
                                strength_model=1.0)  # fmt: skip
    sampler["inputs"]["model"] = ["lora", 0]
    try:
        assert len(ask(worker, graph)["images"]) == 1
    finally:
        lora.unlink()


def test_a_chain_of_two_thousand_nodes(worker: Worker, good: Any) -> None:
    """ComfyUI's own validation and cache keys work by recursion, which would end at half as many."""
    graph = graphs.solid(0x102030)
    for number in range(3, 2003):
        graph[str(number)] = graphs.node("ImageInvert", image=[str(number - 1) if number > 3 else "1", 0])
    graph["2"]["inputs"]["images"] = ["2002", 0]
    answer = ask(worker, graph)
    assert set(answer) == {"images"}
    picture = Image.open(io.BytesIO(base64.b64decode(answer["images"][0]["data"])))
    assert picture.getpixel((0, 0)) == pytest.approx((0x10, 0x20, 0x30), abs=1), "an even number of inversions"


def test_a_prompt_of_ten_megabytes(worker: Worker, good: Any) -> None:
    text = "word " * 2_000_000
    answer = ask(worker, {"1": graphs.node("TestShowsText", text=text)})
    assert answer == {"status": "success_no_images", "images": [], "text": [{"node_id": "1", "text": text}]}


@pytest.mark.parametrize(
    ("name", "shown", "problem"),
    [
        ("\ud800", "\\ud800", "surrogates not allowed"),
        ("a\udcffb", "a\\udcffb", None),  # What Python makes of the bytes a\xffb, which a file's name may have.
        ("\0", "\0", "embedded null byte"),
    ],
    ids=["surrogate", "bytes", "null"],
)
def test_names_that_are_no_text(worker: Worker, good: Any, name: str, shown: str, problem: str | None) -> None:
    graph = graphs.solid()
    graph["2"]["inputs"]["filename_prefix"] = name
    saved = ask(worker, graph)
    if problem is None:
        assert picture_names(saved) == [f"{shown}_00001_.png"]
    else:
        (line,) = saved["details"]
        assert line.startswith(f"An image could not be saved: {shown}_00001_.png: ")
        assert line.endswith(problem)
    as_id = ask(worker, graphs.solid() | {name: graphs.node("SaveImage", images=["1", 0], filename_prefix="x")})
    assert [image["node_id"] for image in as_id["images"]] == ["2", shown]
    refused = ask(worker, graphs.load(name))
    assert refused["error_type"] == "workflow_validation"
    assert f"Invalid image file: {shown}" in refused["error"]
    for answer in (saved, as_id, refused):
        json.dumps(answer, ensure_ascii=False).encode()


def test_a_cycle(worker: Worker, good: Any) -> None:
    graph = {
        "1": graphs.node("ImageInvert", image=["2", 0]),
        "2": graphs.node("ImageInvert", image=["1", 0]),
        "3": graphs.node("SaveImage", images=["2", 0], filename_prefix="x"),
    }
    answer = ask(worker, graph)
    assert answer["error_type"] == "workflow_validation"
    assert "cycle" in answer["error"]


def test_a_node_that_ends_the_process(start: Start) -> None:
    """No half answer: the platform gives the job to another worker."""
    with start() as process:
        process.api.give("exits", {"workflow": deed("ends_process", 7)})
        assert process.end(30) == 7
        assert process.api.results("exits") == []


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 60 MB, as a full disk or a full /dev/shm is."""
    folder = tmp_path_factory.mktemp("small")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(folder)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S607


@pytest.fixture(scope="module")
def cramped(start: Start, small_disk: Path) -> Iterator[JobApi]:
    """The stand-in of RunPod's API, with a worker whose files lie on ``small_disk``."""
    with start(WORKER_STATE_DIR=str(small_disk)) as process:
        yield process.api


def test_a_full_disk(cramped: JobApi, small_disk: Path) -> None:
    cramped.give("fills", {"workflow": deed("fills_disk", 200)})
    body = cramped.result("fills")
    assert "No space left on device" in json.dumps(body)
    assert str(small_disk) not in json.dumps(body)
    cramped.give("next", {"workflow": graphs.solid()})
    assert len(cramped.result("next")["output"]["images"]) == 1


def test_a_disk_that_was_full_before(cramped: JobApi, small_disk: Path) -> None:
    """Something else may fill /dev/shm: then a job fails, and jobs are right again when there is room."""
    filler = small_disk / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(1_000_000))
            file.flush()
    noise = {"1": graphs.node("TestMakesNoise", width=512, height=512),
             "2": graphs.node("SaveImage", images=["1", 0], filename_prefix="noise")}  # fmt: skip
    cramped.give("full", {"workflow": noise})
    assert "No space left on device" in json.dumps(cramped.result("full"))
    filler.unlink()
    cramped.give("room", {"workflow": noise})
    assert len(cramped.result("room")["output"]["images"]) == 1


def packs(base: Path, **sources: str) -> Path:
    """A base directory with node packs of these sources."""
    for name in ("models", "custom_nodes", "input"):
        (base / name).mkdir(parents=True)
    for name, source in sources.items():
        (base / "custom_nodes" / name).mkdir()
        (base / "custom_nodes" / name / "__init__.py").write_text(source)
    return base


@pytest.mark.full
def test_a_pack_that_takes_half_a_minute(start: Start, tmp_path: Path) -> None:
    base = packs(tmp_path / "base", slow="import time; time.sleep(30)\nNODE_CLASS_MAPPINGS = {}")
    with start(COMFY_BASE_DIR=str(base)) as process:
        process.api.give("job", {"workflow": graphs.solid()})
        assert len(process.api.result("job")["output"]["images"]) == 1


def test_sigterm_while_a_file_is_uploaded(start_either: Start) -> None:
    """The job that was taken is finished and answered: its upload is part of it."""
    keys = {
        "BUCKET_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "BUCKET_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
    }
    with (
        s3_server() as url,
        FaultyS3(url, delay_s=2) as bucket,
        start_either(BUCKET_ENDPOINT_URL=f"{bucket.url}/pictures", **keys) as process,
    ):
        process.api.give("uploading", {"workflow": graphs.solid()})
        process.api.wait(lambda: bucket.seen)
        process.process.terminate()
        body = process.api.result("uploading")
        assert body["output"]["images"][0]["type"] == "s3_url"
        assert process.end() == 0


def test_a_job_behind_a_slow_one_is_not_lost_on_sigterm(start_either: Start) -> None:
    with start_either(WORKER_CONCURRENCY="2") as process:
        process.api.give("slow", sleeping(3))
        process.api.give("behind", {"workflow": graphs.solid()})
        process.api.wait(lambda: len(process.api.taken) == 2)
        process.process.terminate()
        assert "images" in process.api.result("slow")["output"]
        assert "images" in process.api.result("behind")["output"]
        assert process.end() == 0
