"""Many jobs in random order, failing and interrupted ones among them, give what each gives in a fresh process."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import pytest
from PIL import Image

from worker import Worker
from worker.events import Event, NodeProgress
from worker.job.from_python import make_job

Picture = tuple[str, str, str]


def requests(png: Callable[..., bytes]) -> dict[str, dict[str, Any]]:
    """Requests that share node ids, file names and prefixes, but not their pixels."""
    dark, light = (base64.b64encode(png(color, (24, 24))).decode() for color in ("#112233", "#ddccbb"))
    loaded = graphs.load("in.png") | {"3": graphs.node("ImageInvert", image=["1", 0])}
    loaded["2"]["inputs"]["images"] = ["3", 0]
    saved_twice = graphs.solid(0x555555) | {"3": graphs.node("TestSamplesAndSaves", image=["1", 0])}
    saved_twice["3"]["inputs"]["filename_prefix"] = "ComfyUI"
    expanded = graphs.through("TestExpands", color=0x818283)
    return {
        "sampler 1": {"workflow": graphs.text_to_image(seed=1)},
        "dark": {"workflow": loaded, "images": [{"name": "in.png", "image": dark}]},
        "light": {"workflow": loaded, "images": [{"name": "in.png", "image": light}]},
        "saved twice": {"workflow": saved_twice},
        "solid": {"workflow": graphs.solid(0x010203)},
        "sampler 2": {"workflow": graphs.text_to_image(seed=2)},
        "expanded": {"workflow": expanded},
        "batch": {"workflow": graphs.solid(0x778899, batch=3)},
    }


def digest(node_id: str, name: str, picture: Image.Image) -> Picture:
    """What is compared: who saved it, its name, its pixels."""
    return node_id, name, hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()


def fresh(command: Callable[..., Any], request: dict[str, Any], folder: Path) -> list[Picture]:
    """What ``request`` gives in a process of its own."""
    folder.mkdir()
    (folder / "request.json").write_text(json.dumps({"input": request}))
    answer = command("run", folder / "request.json", "--out", folder / "out", "--json")
    assert answer.returncode == 0, answer.stderr
    files = json.loads(answer.stdout)["files"]
    return [digest(file["node_id"], file["filename"], Image.open(file["path"])) for file in files]


async def interrupted(worker: Worker) -> None:
    """Begin a job and cancel it in the middle."""
    running = asyncio.Event()
    loop = asyncio.get_running_loop()

    def listen(event: Event) -> None:
        if isinstance(event, NodeProgress):
            loop.call_soon_threadsafe(running.set)

    graph = graphs.through("TestSleeps", color=0x010203, steps=1000)
    task = asyncio.create_task(worker.arun(graph, on_event=listen))
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def run_in_random_order(worker: Worker, known: dict[str, Any], expected: dict[str, list[Picture]], rounds: int) -> None:
    """Run each of ``known`` twice in a round, with some that fail or are interrupted; compare what the others give.

    What ``expected`` does not hold must be the same each time.
    """
    expected = dict(expected)
    kinds = [*known, "fails", "exits", "interrupted"] * 2 * rounds
    random.Random(7).shuffle(kinds)
    for index, kind in enumerate(kinds):
        if kind == "interrupted":
            asyncio.run(interrupted(worker))
        elif kind in ("fails", "exits"):
            graph = graphs.through("TestRaises", color=0x555555, kind="SystemExit" if kind == "exits" else "ValueError")
            assert worker.run(graph).status == "error"
        else:
            result = worker.run_job(make_job({"input": known[kind]}))
            assert result.ok, (index, kind, result.errors)
            pictures = zip(result.artifacts, result.images, strict=True)
            found = [digest(artifact.node_id, artifact.filename, picture) for artifact, picture in pictures]
            assert found == expected.setdefault(kind, found), (index, kind)


def test_twenty_two_jobs(
    worker: Worker, command: Callable[..., Any], png: Callable[..., bytes], tmp_path: Path, tiny_checkpoint: Path
) -> None:
    known = requests(png)
    names = ["sampler 1", "dark"]  # A process each.
    expected = {name: fresh(command, known[name], tmp_path / name) for name in names}
    run_in_random_order(worker, known, expected, 1)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_two_hundred_jobs(
    worker: Worker, command: Callable[..., Any], png: Callable[..., bytes], tmp_path: Path, tiny_checkpoint: Path
) -> None:
    known = requests(png)
    expected = {name: fresh(command, known[name], tmp_path / name) for name in known}
    run_in_random_order(worker, known, expected, 9)
