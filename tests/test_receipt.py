"""Receipts: where the time of a job went, in its answer. Every job here is a real one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr
from s3_server import FaultyS3, s3_server

from worker import Worker
from worker.handler import JobHandler
from worker.receipt.receipt import Receipt
from worker.receipt.spans import beside, joined, total

Answered = tuple[dict[str, Any], float]  # The answer, with ``error`` if there is one, and the seconds that it took.


@contextlib.contextmanager
def handling(worker: Worker, **changes: Any) -> Iterator[JobHandler]:
    """A handler whose answers have metrics, with other settings."""
    before = worker.settings
    worker.settings = before.model_copy(update={"report_metrics": "on"} | changes)
    try:
        yield JobHandler(worker)
    finally:
        worker.settings = before


def in_bucket(url: str) -> dict[str, Any]:
    """The settings of a bucket there."""
    keys = {"bucket_access_key_id": SecretStr("test-key-id"), "bucket_secret_access_key": SecretStr("test-secret-key")}
    return {"bucket_endpoint_url": url, "bucket_name": "pictures", **keys}


async def reply(handler: JobHandler, workflow: Any, limit_mb: float | None = None, **more: Any) -> Answered:
    """One job's answer as it is sent, and how long the caller has waited for it."""
    began = time.perf_counter()
    sent = await handler.reply({"id": "job", "input": {"workflow": workflow, **more}}, limit_mb=limit_mb)
    seconds = time.perf_counter() - began
    answer = json.loads(bytes(sent.output))
    return (answer if sent.error is None else {"error": sent.error, **answer}), seconds


def answered(handler: JobHandler, workflow: Any, **more: Any) -> Answered:
    """``reply`` where nothing else goes on."""
    return asyncio.run(reply(handler, workflow, **more))


def phases(metrics: dict[str, Any], *, overlaps: bool = False) -> dict[str, float]:
    """Milliseconds by phase: of the critical path, or of what went on beside it."""
    return {row["phase"]: row["ms"] for row in metrics["phases"] if row.get("overlaps", False) is overlaps}


def assert_adds_up(metrics: dict[str, Any], seconds: float) -> None:
    """The critical path is the whole, to the rounding, and the whole is what the caller saw.

    On a quiet machine the caller sees less than 20 ms more. On a busy one, much comes between two readings of a clock.
    """
    assert sum(phases(metrics).values()) == pytest.approx(metrics["total_ms"], abs=0.1), metrics
    assert 1000 * seconds - max(0.02 * 1000 * seconds, 500) <= metrics["total_ms"] <= 1000 * seconds + 0.1
    starts = [row["start_ms"] for row in metrics["phases"] if "overlaps" not in row]
    assert starts == sorted(starts)
    nodes_ms = sum(node["ms"] for node in metrics.get("nodes", ()))
    assert nodes_ms <= phases(metrics).get("execution", 0) + 0.1, "nodes run while the graph does, one at a time"


@pytest.mark.backends("embedded", "websocket")
def test_the_parts_of_a_job_add_up_to_the_whole(worker: Worker) -> None:
    graph = graphs.through("TestSleeps", 0x300101, steps=25)
    graph["3"]["_meta"] = {"title": "Half a second"}
    with handling(worker) as handler:
        answer, seconds = answered(handler, graph)
    metrics = answer["metrics"]
    assert_adds_up(metrics, seconds)
    assert list(phases(metrics))[:3] == ["parse", "staging", "queue"]
    assert list(phases(metrics))[-2:] == ["delivery", "reply"]
    sleeps = next(node for node in metrics["nodes"] if node["node_id"] == "3")
    assert sleeps | {"ms": 0} == {
        "node_id": "3", "class_type": "TestSleeps", "title": "Half a second", "ms": 0, "cached": False,
    }  # fmt: skip
    assert sleeps["ms"] > 450
    assert sleeps["ms"] <= phases(metrics)["execution"]
    assert metrics["gpu_seconds"] >= 0.45
    assert metrics["bytes_in"] == 0
    assert metrics["bytes_out"] == len(base64.b64decode(answer["images"][0]["data"]))
    assert not {"cost", "rss_peak_bytes", "versions"} & set(metrics)


@pytest.mark.backends("embedded", "websocket")
def test_the_repeat_of_a_job_says_what_was_cached(worker: Worker) -> None:
    graph = graphs.through("ImageInvert", 0x300202)
    with handling(worker) as handler:
        answered(handler, graph)
        answer, seconds = answered(handler, graph)
    assert_adds_up(answer["metrics"], seconds)
    cached = {node["node_id"]: node["cached"] for node in answer["metrics"]["nodes"]}
    assert (cached["1"], cached["3"]) == (True, True)
    assert answer["metrics"]["start"] == "warm"
    assert next(node for node in answer["metrics"]["nodes"] if node["node_id"] == "3")["ms"] == 0


@pytest.mark.backends("embedded", "websocket")
@pytest.mark.parametrize(
    ("graph", "more", "error_type"),
    [
        (graphs.through("TestRaises"), {}, "workflow_execution"),
        (graphs.through("TestSleeps", 0x300303, steps=5000), {"timeout_s": 0.5}, "timeout"),
        ({"1": graphs.node("NoSuchClass")}, {}, "workflow_validation"),
        ({"1": {}}, {}, "invalid_input"),
        (graphs.load("a.png"), {"images": [{"name": "a.png", "image": "%"}]}, "invalid_image"),
    ],
)
def test_a_job_that_failed_has_metrics_as_far_as_it_got(
    worker: Worker, graph: Any, more: dict[str, Any], error_type: str
) -> None:
    with handling(worker) as handler:
        answer, seconds = answered(handler, graph, **more)
    assert answer["error_type"] == error_type
    assert_adds_up(answer["metrics"], seconds)
    reached = phases(answer["metrics"])
    assert ("execution" in reached) == (error_type in ("workflow_execution", "timeout"))
    if error_type == "timeout":
        assert next(node["ms"] for node in answer["metrics"]["nodes"] if node["node_id"] == "3") >= 400


@pytest.mark.backends("embedded", "websocket")
def test_jobs_at_the_same_time_are_told_how_long_they_waited(worker: Worker) -> None:
    async def both(handler: JobHandler) -> list[Answered]:
        first = asyncio.create_task(reply(handler, graphs.through("TestSleeps", 0x300401, steps=30)))
        await asyncio.sleep(0.1)
        second = await reply(handler, graphs.through("TestSleeps", 0x300402, steps=10))
        return [await first, second]

    with handling(worker) as handler:
        (first, first_s), (second, second_s) = asyncio.run(both(handler))
    assert_adds_up(first["metrics"], first_s)
    assert_adds_up(second["metrics"], second_s)
    assert phases(second["metrics"])["queue"] > phases(first["metrics"])["queue"]
    held = first["metrics"]["gpu_seconds"] + second["metrics"]["gpu_seconds"]
    assert held <= max(first_s, 0.1 + second_s) + 0.5, "no second of the GPU is counted twice"


@pytest.mark.backends("embedded", "websocket")
def test_uploads_that_go_on_beside_the_graph_are_marked(worker: Worker) -> None:
    graph = graphs.solid(0x300501)
    graph |= {"3": graphs.node("TestSleeps", image=["1", 0], steps=50)}
    graph |= {"4": graphs.node("SaveImage", images=["3", 0], filename_prefix="late")}
    with s3_server() as target, FaultyS3(target, delay_s=0.3) as s3, handling(worker, **in_bucket(s3.url)) as handler:
        answer, seconds = answered(handler, graph)
    metrics = answer["metrics"]
    assert [image["type"] for image in answer["images"]] == ["s3_url"] * 2
    assert_adds_up(metrics, seconds)
    assert phases(metrics)["upload"] >= 250, "the last picture is waited for"
    beside = phases(metrics, overlaps=True)
    # Files of a server elsewhere arrive when the graph has ended.
    assert ("upload" in beside) == (worker.runtime is not None)
    assert beside.get("upload", 300) >= 250
    assert metrics["bytes_out"] > 0


def test_a_file_that_no_bucket_took_is_counted(worker: Worker) -> None:
    ended: list[Receipt] = []
    with (
        s3_server() as target,
        FaultyS3(target, lambda *_: 403) as s3,
        handling(worker, **in_bucket(s3.url)) as handler,
    ):
        handler.reports.listeners.append(lambda _, receipt: ended.append(receipt))
        answer, seconds = answered(handler, graphs.solid(0x300601))
    assert answer["images"][0]["type"] == "base64"
    assert_adds_up(answer["metrics"], seconds)
    assert [receipt.counts.bucket_errors for receipt in ended] == [1]


def test_pictures_are_encoded_beside_the_graph(worker: Worker) -> None:
    graph = graphs.solid(0x300701, 1600, 1600)
    graph |= {"3": graphs.node("TestSleeps", image=["1", 0], steps=40)}
    graph |= {"4": graphs.node("SaveImage", images=["3", 0], filename_prefix="late")}
    with handling(worker) as handler:
        answer, seconds = answered(handler, graph, output_format="webp", output_quality=100)
    assert_adds_up(answer["metrics"], seconds)
    assert phases(answer["metrics"], overlaps=True)["encode"] > 0
    assert phases(answer["metrics"])["encode"] > 0


def test_a_large_answer_adds_up_with_its_encoding(worker: Worker) -> None:
    """Some 9 MB of base64: its JSON takes a while, too."""
    noise = base64.b64encode(_noise(1700)).decode()
    with handling(worker) as handler:
        images = [{"name": "noise.png", "image": noise}]
        answer, seconds = answered(handler, graphs.load("noise.png"), images=images)
    assert len(answer["images"][0]["data"]) > 5_000_000
    assert_adds_up(answer["metrics"], seconds)
    assert answer["metrics"]["bytes_in"] == len(base64.b64decode(noise))


def _noise(size: int) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def test_models_that_are_read_and_loaded_are_told(worker: Worker, tiny_checkpoint: Path) -> None:
    copy = tiny_checkpoint.with_name("receipt.safetensors")
    copy.write_bytes(tiny_checkpoint.read_bytes())
    with handling(worker) as handler:
        first, seconds = answered(handler, graphs.text_to_image(seed=11, checkpoint=copy.name))
        second, _ = answered(handler, graphs.text_to_image(seed=12, checkpoint=copy.name))
    assert "images" in first, first
    assert_adds_up(first["metrics"], seconds)
    models = first["metrics"]["models"]
    assert (models["reads"], models["read_bytes"]) == (1, copy.stat().st_size)
    assert models["read_ms"] > 0
    assert models["load_ms"] > 0
    assert second["metrics"].get("models", {}).get("reads", 0) == 0


def test_off_is_the_answer_of_before_to_the_byte(worker: Worker) -> None:
    job = {"id": "job", "input": {"workflow": graphs.solid(0x300801)}}
    with handling(worker, report_metrics="off") as handler:
        asyncio.run(handler.reply(job))
        without = bytes(asyncio.run(handler.reply(job)).output)
        as_dict = asyncio.run(handler.answer(job))
    with handling(worker) as handler:
        measured = bytes(asyncio.run(handler.reply(job)).output)
        assert {**asyncio.run(handler.answer(job)), "metrics": None} == {**as_dict, "metrics": None}
    assert b"metrics" not in without
    head, metrics = measured.split(b',"metrics":')
    assert head + b"}" == without
    assert json.loads(metrics[:-1])["total_ms"] > 0


def test_full_has_the_cost_and_what_it_comes_from(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "worker")
    with handling(worker, report_metrics="full", gpu_price_per_hour=3600.0) as handler:
        answer, _ = answered(handler, graphs.through("TestSleeps", 0x300901, steps=10))
    metrics = answer["metrics"]
    assert metrics["cost"] == pytest.approx(metrics["gpu_seconds"], abs=0.001), "1 for each second"
    assert metrics["versions"]["comfyui"] == worker.embedded_runtime().source.version
    assert 100e6 < metrics["rss_peak_bytes"] < 100e9
    (line,) = [record for record in caplog.records if "fields" in record.__dict__]
    assert f"cost {metrics['cost']:.6f}" in line.getMessage()
    fields = line.__dict__["fields"]
    assert {key: fields[key] for key in ("cost", "rss_peak_bytes", "versions")} == {
        key: metrics[key] for key in ("cost", "rss_peak_bytes", "versions")
    }


def test_the_peak_of_memory_is_that_of_the_job(worker: Worker) -> None:
    """A picture of 4,000 by 4,000 takes 192 MB."""
    with handling(worker, report_metrics="full") as handler:
        small, _ = answered(handler, graphs.solid(0x301001))
        large, _ = answered(handler, graphs.solid(0x301002, 4000, 4000))
        answered(handler, graphs.solid(0x301003))  # When it begins, ComfyUI's cache still has the large one.
        after, _ = answered(handler, graphs.solid(0x301004))
    peaks = [answer["metrics"]["rss_peak_bytes"] for answer in (small, large, after)]
    assert peaks[1] > peaks[0] + 190e6
    assert peaks[2] < peaks[1] - 150e6


def test_the_log_has_the_cost_while_answers_do_not(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "worker")
    with handling(worker, gpu_price_per_hour=2.69) as handler:
        answer, _ = answered(handler, graphs.solid(0x300A01))
    assert not {"cost", "rss_peak_bytes", "versions"} & set(answer["metrics"])
    (line,) = [record for record in caplog.records if "fields" in record.__dict__]
    assert {"cost", "rss_peak_bytes", "versions", "gpu_seconds"} <= set(line.__dict__["fields"])


def _chain(length: int, **meta: str) -> graphs.Graph:
    graph = graphs.solid(0x300B01, 8, 8)
    before = "1"
    for number in range(length):
        node_id = f"{number + 1000}"
        graph[node_id] = graphs.node("ImageInvert", image=[before, 0]) | {"_meta": {"title": "t" * 5000, **meta}}
        before = node_id
    graph["2"]["inputs"]["images"] = [before, 0]
    return graph


def test_the_metrics_of_a_large_graph_stay_small(worker: Worker) -> None:
    with handling(worker) as handler:
        answer, seconds = answered(handler, _chain(2000))
    metrics = answer["metrics"]
    assert_adds_up(metrics, seconds)
    assert len(metrics["nodes"]) == 100
    assert metrics["nodes_left_out"]["count"] == 1902
    slowest = min(node["ms"] for node in metrics["nodes"])
    assert metrics["nodes_left_out"]["ms"] <= 1902 * (slowest + 0.01)
    assert len(json.dumps(metrics)) < 40_000


def test_a_receipt_costs_no_answer(worker: Worker) -> None:
    """The answer has just so much room as it needs without metrics."""
    graph = graphs.solid(0x300C01)
    with handling(worker, report_metrics="off") as handler:
        plain = asyncio.run(handler.reply({"id": "job", "input": {"workflow": graph}}))
    limit_mb = (len(plain.output) + 300) / 1e6
    with handling(worker) as handler:
        answer, _ = answered(handler, graph, limit_mb=limit_mb)
        assert set(answer) == {"images"}
        refused, _ = answered(handler, graphs.solid(0x300C02, 600, 600), limit_mb=0.0006)
    assert refused["error_type"] == "answer_too_large"


def test_the_dict_of_the_handler_keeps_the_limit_as_well(worker: Worker) -> None:
    job = {"id": "job", "input": {"workflow": graphs.solid(0x300C01)}}
    with handling(worker, report_metrics="off") as handler:
        limit_mb = (len(asyncio.run(handler.reply(job)).output) + 300) / 1e6
    with handling(worker) as handler:
        assert set(asyncio.run(handler.answer(job, limit_mb=limit_mb))) == {"images"}
        assert set(asyncio.run(handler.answer(job, limit_mb=1))) == {"images", "metrics"}


def test_a_receipt_that_cannot_be_made_costs_no_answer(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("worker.receipt.reports.metrics_of", broken)
    with handling(worker) as handler:
        handler.reports.listeners.append(broken)
        answer, _ = answered(handler, graphs.solid(0x300C03))
    assert set(answer) == {"images"}
    assert "The metrics of a job cannot be made" in caplog.text
    assert "A job cannot be counted" in caplog.text


def test_titles_are_the_callers_words_and_no_place_of_the_machine_is_told(worker: Worker, base_dir: Path) -> None:
    graph = graphs.through("TestRaises", 0x300D01)
    graph["3"]["_meta"] = {"title": "\ud800 <b>mine</b> /runpod-volume/x"}
    with handling(worker, report_metrics="full") as handler:
        answer, _ = answered(handler, graph)
    node = next(node for node in answer["metrics"]["nodes"] if node["node_id"] == "3")
    assert node["title"].endswith(" <b>mine</b> /runpod-volume/x")
    text = json.dumps(answer["metrics"])
    for place in (str(base_dir), str(worker.state.root), str(worker.embedded_runtime().source.path)):
        assert place not in text


@pytest.mark.parametrize("title", [None, 7, ["a"], {"a": 1}])
def test_a_title_that_is_none_does_no_harm(worker: Worker, title: object) -> None:
    graph = graphs.solid(0x300E01)
    graph["1"]["_meta"] = {"title": title}
    with handling(worker) as handler:
        answer, _ = answered(handler, graph)
    assert "title" not in answer["metrics"]["nodes"][0]


@pytest.mark.backends("embedded", "websocket")
def test_python_has_the_same_metrics(worker: Worker) -> None:
    with handling(worker):
        began = time.perf_counter()
        result = worker.run(graphs.through("TestSleeps", 0x300F01, steps=10))
        seconds = time.perf_counter() - began
    assert_adds_up(dict(result.metrics), seconds)
    assert result.metrics["bytes_out"] == result.size
    with handling(worker, report_metrics="off"):
        assert worker.run(graphs.solid(0x300F02)).metrics == {}


def test_a_node_that_goes_on_after_its_answer_changes_no_receipt() -> None:
    receipt = Receipt()
    receipt.enter("validation")
    receipt.enter("execution")
    receipt.enter("delivery")
    receipt.enter("execution")
    receipt.enter("encode")
    assert receipt.phase == "delivery"
    receipt.end()
    receipt.enter("reply")
    assert [phase for phase, _, _ in receipt.timeline()][-1] == "delivery"


def test_spans_are_counted_once() -> None:
    assert joined([(4, 5), (0, 2), (1, 3), (5, 5)]) == [(0, 3), (4, 5)]
    assert beside([(0, 4), (3, 8)], [(2, 5)], (1, 7)) == [(1, 2), (5, 7)]
    assert total(beside([(0, 1)], [(0, 1)], (0, 9))) == 0


def test_a_receipt_is_printed_and_drawn(
    command: Callable[..., subprocess.CompletedProcess[str]], project: Path, tmp_path: Path
) -> None:
    graph = _chain(30)
    graph["1000"]["_meta"]["title"] = "[red]$5_a^b$[/red]"
    (tmp_path / "workflow.json").write_text(json.dumps(graph))
    arguments = ("run", tmp_path / "workflow.json", "--out", tmp_path / "out", "--json")
    done = command(*arguments, "--metrics", GPU_PRICE_PER_HOUR="3.60")
    assert done.returncode == 0, done.stderr
    for text in ("execution", "collection", "total", "SaveImage", "12 more nodes took", "at most: RSS", "cost 0.00"):
        assert text in done.stderr, text
    answer = json.loads(done.stdout)
    assert answer["metrics"]["cost"] > 0
    assert answer["metrics"]["start"] == "cold"
    (tmp_path / "answer.json").write_text(done.stdout)
    plot: list[str | Path] = [
        project / "scripts" / "plot_receipt",
        tmp_path / "answer.json",
        "--out",
        tmp_path / "receipt.png",
    ]
    drawn = subprocess.run(plot, capture_output=True, text=True, check=False)
    assert drawn.returncode == 0, drawn.stderr
    assert Image.open(tmp_path / "receipt.png").size[0] > 1000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"images": []}', "has no 'metrics': is it an answer, and is REPORT_METRICS not off?"),
        ("[1]", "has no 'metrics'"),
        ("{", "is no JSON"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line(
    project: Path, tmp_path: Path, content: str | None, told: str
) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    plot: list[str | Path] = [project / "scripts" / "plot_receipt", tmp_path / "a.json", "--out", tmp_path / "a.png"]
    done = subprocess.run(plot, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert told in line
