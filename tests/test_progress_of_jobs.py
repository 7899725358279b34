"""The progress and the previews of real jobs, as callers and Python programs see them."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
from comfy_server import ComfyServer
from local_api import get, post, request, serving
from PIL import Image, ImageChops, ImageStat
from websocket_jobs import Running, client_of, stop, wait_for

from worker import Settings, Worker
from worker.errors import BackendFailed, JobInterrupted
from worker.events import Event, ModelLoading, NodeStarted, Preview, PromptEnded, PromptStarted
from worker.progress.job_progress import JobProgress
from worker.progress.preview_jpeg import MAX_BYTES, MAX_SIDE

RED, BLUE = 0xF00000, 0x0000F0
ENDS_A_SERVER = ("float", "deep", "clear", "empty", "narrow", "text", "none")
"""Previews that ComfyUI cannot encode. The task that sends all its messages ends then, and the server with it."""
both = pytest.mark.backends("embedded", "websocket")


@pytest.fixture
def previewing(worker: Worker) -> Iterator[Worker]:
    """The worker with previews, ten a second."""
    settings = worker.settings
    worker.settings = settings.model_copy(update={"progress_previews": True, "progress_interval_s": 0.1})
    yield worker
    worker.settings = settings


class Followed:
    """A listener that takes a report after each event."""

    def __init__(self) -> None:
        self.progress, self.events, self.reports = JobProgress(), list[Event](), list[dict[str, Any]]()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.progress(event)
        self.reports.append(self.progress.report())

    def check(self) -> None:
        """What holds for each job."""
        percents = [report["percent"] for report in self.reports]
        assert percents == sorted(percents)
        assert [report["stage"] for report in self.reports if report["percent"] == 100] in ([], ["saving"])
        for report in self.reports:
            assert None not in report.values()
            assert 0 <= report["completed_nodes"] <= report["total_nodes"]


def previews_color(steps: int, color: int, side: int = 64, step_s: float = 0.05) -> dict[str, Any]:
    """A workflow whose node shows previews: left ``color``, right its complement."""
    return graphs.through("TestShowsPreviews", steps=steps, step_s=step_s, shown=color, side=side)


def decoded(report: dict[str, Any]) -> Image.Image:
    content = base64.b64decode(report["preview"], validate=True)
    assert len(content) <= MAX_BYTES
    picture = Image.open(io.BytesIO(content))
    picture.load()
    assert picture.format == "JPEG"
    return picture


def is_near(picture: Image.Image, place: float, color: int) -> bool:
    found = picture.convert("RGB").getpixel((int(picture.width * place), picture.height // 2))
    assert isinstance(found, tuple)
    return all(abs(value - (color >> shift & 255)) < 25 for value, shift in zip(found, (16, 8, 0), strict=True))


@both
@pytest.mark.parametrize("steps", [5, pytest.param(20, marks=pytest.mark.full)])
def test_a_sampler_that_counts_its_steps(worker: Worker, tiny_checkpoint: Path, steps: int) -> None:
    graph = graphs.text_to_image(steps=steps, seed=31, size=32)
    graph["3"]["_meta"] = {"title": "Paint the lake"}
    first = Followed()
    assert worker.run(graph, on_event=first).status == "success"
    first.check()
    sampling = [report for report in first.reports if report.get("step")]
    assert {report["title"] for report in sampling} == {"Paint the lake"}
    assert {report["steps"] for report in sampling} == {steps}
    assert [report["step"] for report in sampling if report["message"].endswith(f"of {steps}")][-1] == steps
    assert not any("preview" in report for report in first.reports), "nobody asked"
    assert not any("seconds_left" in report for report in first.reports), "it never ran before"
    graph["3"]["inputs"]["seed"] = 32
    second = Followed()
    worker.run(graph, on_event=second)
    second.check()
    begun = [report for report in second.reports if report["total_nodes"]]  # A server tells of its queue before.
    assert all("seconds_left" in report for report in begun if report["stage"] == "running")
    lefts = [report["seconds_left"] for report in second.reports if report.get("step")]
    assert lefts[-1] < lefts[0]
    cached = next(report for report in second.reports if report["completed_nodes"])
    assert cached["percent"] == 0, "what the first run took to load the model is no part of this one"
    repeated = Followed()
    worker.run(graph, on_event=repeated)
    repeated.check()
    assert repeated.reports[-1]["percent"] == 100


@both
def test_an_expansion_an_error_and_a_stop(worker: Worker) -> None:
    expanded = Followed()
    graph = graphs.through("TestExpands", color=0x123456)
    graph["3"]["_meta"] = {"title": "Expands"}
    worker.run(graph, on_event=expanded)
    expanded.check()
    started = [event for event in expanded.events if isinstance(event, NodeStarted) and event.display_node_id == "3"]
    assert len(started) > 1
    assert {event.title for event in started} == {"Expands"}
    failed = Followed()
    assert worker.run(graphs.through("TestRaises", color=0x123457), on_event=failed).status == "error"
    failed.check()
    assert failed.reports[-1]["percent"] < 100
    stopped = Running(worker, graphs.through("TestSleeps", color=0x123458, steps=1000))
    wait_for(lambda: len(stopped.events) > 8)
    stop(worker)
    with pytest.raises(JobInterrupted):
        if stopped.wait().status != "success":
            raise JobInterrupted
    follow = Followed()
    for event in stopped.events:
        follow(event)
    follow.check()
    assert follow.reports[-1]["percent"] < 100


@both
def test_prompts_that_a_node_queues_are_one_job(worker: Worker) -> None:
    followed = Followed()
    worker.run({"1": graphs.node("TestQueuesAgain", times=3)}, on_event=followed)
    followed.check()
    ends = [
        ("began", event.goes_on) if isinstance(event, PromptStarted) else ("ended", event.is_last)
        for event in followed.events
        if isinstance(event, PromptStarted | PromptEnded)
    ]
    assert ends == [
        ("began", False), ("ended", False), ("began", True), ("ended", False), ("began", True), ("ended", True),
    ]  # fmt: skip


@both
@pytest.mark.parametrize("kind", ["nan", "zero", "over", "backwards", "huge", "float", "deep", "clear", "empty",
                                  "narrow", "text", "none"])  # fmt: skip
def test_a_node_that_reports_oddly_does_no_harm(previewing: Worker, kind: str) -> None:
    if previewing.runtime is None and kind in ENDS_A_SERVER:
        pytest.skip("it ends a server; test_a_preview_that_ends_a_server has one of its own")
    followed = Followed()
    graph = graphs.through("TestReportsOddly", color=0x101010 + hash(kind) % 1000, kind=kind, times=2)
    try:
        assert previewing.run(graph, on_event=followed).status == "success"
    finally:
        followed.check()
    json.dumps(followed.reports, allow_nan=False)
    for report in followed.reports:
        if "preview" in report:
            assert max(decoded(report).size) <= MAX_SIDE


def test_very_many_updates_do_not_hold_the_job_up(worker: Worker) -> None:
    graph = graphs.through("TestReportsOddly", color=0x0000F1, kind="many", times=20_000)
    followed = list[float]()
    progress = JobProgress()

    def follow(event: Event) -> None:
        began = time.thread_time()
        progress(event)
        followed.append(time.thread_time() - began)

    worker.run(graph, on_event=follow)
    assert len(followed) > 20_000
    assert sum(followed) / len(followed) < 0.0005, "seconds of the processor for each"
    assert progress.report()["percent"] == 100


@both
def test_previews_show_what_the_node_shows(previewing: Worker) -> None:
    followed = Followed()
    previewing.run(previews_color(8, RED, side=1500), on_event=followed)
    pictures = [decoded(report) for report in followed.reports if "preview" in report]
    assert pictures
    for picture in pictures:
        assert max(picture.size) == MAX_SIDE
        assert is_near(picture, 0.2, RED)
        assert is_near(picture, 0.8, 0xFFFFFF - RED)
    assert "preview" not in followed.reports[-1], "the result follows"


@both
def test_previews_of_a_sampler_are_those_of_comfyui(previewing: Worker, tiny_checkpoint: Path) -> None:
    followed = Followed()
    previewing.run(graphs.text_to_image(steps=2, seed=41), on_event=followed)
    shown = [event for event in followed.events if isinstance(event, Preview) and event.jpeg]
    assert shown
    for event in shown:
        assert event.jpeg is not None
        picture = Image.open(io.BytesIO(event.jpeg)).convert("RGB")
        size = (8, 8) if previewing.runtime is not None else (512, 512)  # A server enlarges it.
        assert picture.size == event.image.size == size, "a pixel of the latent is one of the preview"
        difference = ImageStat.Stat(ImageChops.difference(picture, event.image.convert("RGB"))).mean
        assert max(difference) < 30
        assert max(ImageStat.Stat(picture).stddev) > 5, "it is no plain picture"


def test_a_decoder_of_taesd_is_used_where_it_is(previewing: Worker, base_dir: Path, tiny_checkpoint: Path) -> None:
    """The tiny checkpoint's own autoencoder is TAESD's, so that its weights can serve as the decoder."""
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_checkpoint)
    begin = "first_stage_model.taesd_decoder."
    decoder = {name.removeprefix(begin): weight for name, weight in weights.items() if name.startswith(begin)}
    assert decoder, sorted(name for name in weights if name.startswith("first_stage"))[:5]
    folder = base_dir / "models" / "vae_approx"
    folder.mkdir(exist_ok=True)
    save_file(decoder, folder / "taesd_decoder.safetensors")
    try:
        followed = Followed()
        previewing.run(graphs.text_to_image(steps=1, seed=42), on_event=followed)
    finally:
        shutil.rmtree(folder)
    sizes = {event.image.size for event in followed.events if isinstance(event, Preview)}
    assert sizes == {(64, 64)}, "TAESD decodes to full size"
    assert any("preview" in report for report in followed.reports)


def test_comfyui_is_left_as_it_was(previewing: Worker, tiny_checkpoint: Path) -> None:
    import latent_preview  # type: ignore[import-not-found]

    original = latent_preview.get_previewer
    previewing.run(graphs.text_to_image(steps=1, seed=43), on_event=Followed())
    assert latent_preview.get_previewer is original
    assert latent_preview.args.preview_method == latent_preview.LatentPreviewMethod.NoPreviews
    quiet = Followed()
    previewing.settings = previewing.settings.model_copy(update={"progress_previews": False})
    previewing.run(graphs.text_to_image(steps=1, seed=44), on_event=quiet)
    assert not any(isinstance(event, Preview) for event in quiet.events)


def test_a_cold_model_is_told_with_its_megabytes(worker: Worker, base_dir: Path, tiny_checkpoint: Path) -> None:
    """A pipe of the loader is slowed, so that a model of 300 MB takes as long here as a large one elsewhere."""
    import comfy.sd

    copy = tiny_checkpoint.with_name("cold.safetensors")
    shutil.copy(tiny_checkpoint, copy)
    original = comfy.sd.load_state_dict_guess_config

    def slow(*arguments: Any, **named: Any) -> Any:
        time.sleep(1)
        return original(*arguments, **named)

    comfy.sd.load_state_dict_guess_config = slow
    load = worker.embedded_runtime().main.comfy.utils.load_torch_file
    followed = Followed()
    try:
        with copy.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        without_ahead = worker.models_ahead._read_ahead
        worker.models_ahead._read_ahead = None
        try:
            worker.run(graphs.decoded("cold.safetensors"), on_event=followed)
        finally:
            worker.models_ahead._read_ahead = without_ahead
    finally:
        comfy.sd.load_state_dict_guess_config = original
        copy.unlink()
    assert load is worker.embedded_runtime().main.comfy.utils.load_torch_file
    followed.check()
    told = [event for event in followed.events if isinstance(event, ModelLoading)]
    assert told
    assert {(event.node_id, event.name) for event in told} == {("1", "cold.safetensors")}
    loading = [report for report in followed.reports if report["stage"] == "loading model"]
    assert loading
    assert all(300 < report["model_mb"] < 310 for report in loading)
    assert all(0 <= report["loaded_mb"] <= report["model_mb"] for report in loading)
    assert loading[0]["message"].startswith("CheckpointLoaderSimple (1): loading model, ")


# The local API


def test_a_preview_of_one_caller_never_reaches_another(worker: Worker) -> None:
    with serving(worker, progress_previews=True, progress_interval_s=0.1, worker_concurrency=2) as url:
        colors = {}
        for index in range(3):
            for color in (RED, BLUE):
                answer = post(f"{url}/run", request(previews_color(10, color + index, step_s=0.03)))
                colors[answer["id"]] = color
        seen = dict.fromkeys(colors, 0)
        left = set(colors)
        while left:
            for job_id in list(left):
                status = get(f"{url}/status/{job_id}")
                if status["status"] == "COMPLETED":
                    left.discard(job_id)
                elif "preview" in status.get("output", {}):
                    seen[job_id] += 1
                    assert is_near(decoded(status["output"]), 0.2, colors[job_id])
            time.sleep(0.02)
        assert all(seen.values())


def test_status_shows_step_title_and_the_rest(worker: Worker) -> None:
    graph = graphs.through("TestSleeps", color=0x010203, steps=60)
    graph["3"]["_meta"] = {"title": "Dream"}
    with serving(worker) as url:
        post(f"{url}/runsync", request(graph))
        job_id = post(f"{url}/run", request(graph))["id"]
        output: dict[str, Any] = {}
        while (status := get(f"{url}/status/{job_id}"))["status"] != "COMPLETED":
            output = max(output, status.get("output", {}), key=lambda found: found.get("step", 0))
            time.sleep(0.05)
    assert output.items() >= {"title": "Dream", "node_id": "3", "steps": 60, "total_nodes": 3}.items()
    assert 0 <= output["seconds_left"] < 3
    assert output["seconds"] > 0
    assert "preview" not in output


def test_progress_can_be_turned_off(worker: Worker) -> None:
    with serving(worker, progress_interval_s=0.0, progress_previews=True) as url:
        job_id = post(f"{url}/run", request(previews_color(10, RED + 9)))["id"]
        while (status := get(f"{url}/status/{job_id}"))["status"] != "COMPLETED":
            assert "output" not in status
            time.sleep(0.02)


def test_a_result_that_is_kept_holds_no_preview(worker: Worker) -> None:
    """And a job that was cancelled shows none either."""
    with serving(worker, progress_previews=True, progress_interval_s=0.1) as url:
        job_id = post(f"{url}/run", request(previews_color(1000, BLUE + 1)))["id"]
        wait_for(lambda: "preview" in get(f"{url}/status/{job_id}").get("output", {}))
        post(f"{url}/cancel/{job_id}")
        assert "output" not in get(f"{url}/status/{job_id}")


def test_previews_of_a_server_need_no_flag(settings: Settings, base_dir: Path, tiny_checkpoint: Path,
                                           worker: Worker) -> None:  # fmt: skip
    """ComfyUI 0.33.0 takes the method from the prompt; 0.3.75 does not, and shows none."""
    import latent_preview

    with ComfyServer(base_dir, ["--disable-metadata"]) as server:
        previews = {"progress_previews": True, "progress_interval_s": 0.1}
        with client_of(settings, server.host, **previews) as client:
            followed = Followed()
            assert client.run(graphs.text_to_image(steps=2, seed=51, size=32), on_event=followed).status == "success"
    assert any("preview" in report for report in followed.reports) == hasattr(latent_preview, "set_preview_method")


@pytest.mark.full
@pytest.mark.parametrize("kind", ENDS_A_SERVER)
def test_a_preview_that_ends_a_server(settings: Settings, base_dir: Path, kind: str) -> None:
    """The job says so, unless it was at its end before the server was."""
    with ComfyServer(base_dir, ["--disable-metadata"]) as server:
        update = {"websocket_reconnect_attempts": 2, "websocket_reconnect_delay_s": 0.1}
        with client_of(settings, server.host, **update) as client:
            graph = graphs.through("TestReportsOddly", color=0x101010, kind=kind, times=1)
            problem = None
            try:
                assert client.run(graph, on_event=JobProgress()).status == "success"
            except BackendFailed as error:
                problem = str(error)
            assert problem is None or re.search("connection to ComfyUI was lost|not reachable", problem)
            assert server.process is not None
            server.process.wait(60)
