"""Jobs that bring their models by URL: what is fetched, who sees it, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import hashlib
import json
import mmap
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
import torch
from bringing import bring_in_process
from certificate import make_certificate
from model_host import ModelHost, Request, safetensors
from pydantic import SecretStr
from safetensors.torch import save

from worker import Worker
from worker.errors import InvalidJob, ModelsNotFetched, StartError, WorkflowRejected
from worker.events import Event, ModelsFetching
from worker.fetch.address import Tokens
from worker.fetch.connections import Connections
from worker.fetch.records import remember
from worker.handler import make_handler
from worker.job.parse import parse_job
from worker.on_demand.fetching import Fetching, Wish
from worker.on_demand.in_use import keys_in_use
from worker.on_demand.leases import Lease
from worker.on_demand.models_on_demand import ModelsOnDemand
from worker.on_demand.sources import Sources
from worker.on_demand.store import Store
from worker.progress.job_progress import JobProgress
from worker.settings import Settings
from worker.workflows.admitted import admitted_job

PROJECT = Path(__file__).resolve().parents[1]
HOST = "models.example.com"
LORA = safetensors(400_000, "lora")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHost]:
    """A host that is reached by https as any name that ends in example.com. Loopback counts as public for it."""
    certificate = make_certificate(tmp_path, HOST, "cdn.example.com", "huggingface.co")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setattr("worker.fetch.connections.is_public", lambda address: address == "127.0.0.1")
    with ModelHost(certificate) as found:

        def resolve(name: str, *_: Any, **__: Any) -> list[Any]:
            address = ("10.1.2.3", 443) if name.endswith(".internal") else ("127.0.0.1", found.port)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

        monkeypatch.setattr("worker.fetch.connections.socket.getaddrinfo", resolve)
        yield found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The folder of fetched models."""
    return tmp_path / "cache"


@pytest.fixture
def fetching(
    worker: Worker, host: ModelHost, cache: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Worker:
    """The worker, which fetches from ``models.example.com/shared``."""
    update: dict[str, Any] = {"model_sources": (f"{HOST}/shared",), "model_cache_dir": cache}
    return _with(worker, settings, monkeypatch, **update)


def _with(worker: Worker, settings: Settings, monkeypatch: pytest.MonkeyPatch, **update: Any) -> Worker:
    monkeypatch.setattr(worker, "on_demand", ModelsOnDemand(settings.model_copy(update=update)))
    worker.on_demand.begin(worker.embedded_runtime().fetched.begin)
    return worker


def offer(path: str, name: str, directory: str = "loras", **more: Any) -> dict[str, Any]:
    """An entry of ``models``."""
    return {"name": name, "url": f"https://{HOST}{path}", "directory": directory, **more}


def lora(name: str, *models: dict[str, Any]) -> dict[str, Any]:
    """A request that reads a LoRA."""
    return {"workflow": {"1": graphs.node("TestReadsLora", lora=name)}, "models": list(models)}


def shown(worker: Worker, request: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What TestReadsLora shows."""
    result = worker.run(request, **more)
    assert result.ok, result.errors
    found: dict[str, Any] = json.loads(result.text[0])
    return found


def gets(host: ModelHost) -> list[Request]:
    """The requests for a file, without the questions what it is."""
    return [request for request in host.requests if request.range != "bytes=0-0"]


def test_a_model_by_url_gives_the_pixels_of_an_installed_one(
    fetching: Worker, host: ModelHost, tiny_checkpoint: Path
) -> None:
    served = host.add("/shared/a/brought.safetensors", tiny_checkpoint.read_bytes())
    graph = graphs.text_to_image(seed=3, checkpoint="brought.safetensors")
    models = [offer("/shared/a/brought.safetensors", "brought.safetensors", "checkpoints", sha256=served.sha256)]
    events: list[Event] = []
    brought = fetching.run({"workflow": graph, "models": models}, on_event=events.append)
    assert brought.ok, brought.errors
    installed = fetching.run(graphs.text_to_image(seed=3))
    assert brought.images[0].tobytes() == installed.images[0].tobytes()
    told = [event for event in events if isinstance(event, ModelsFetching)]
    assert told[-1].done == told[-1].total == len(served.content)
    assert events[: len(told)] == told, "it is fetched before the job has its turn"
    assert len(gets(host)) == 1
    again = fetching.run({"workflow": graph, "models": models})
    assert again.images[0].tobytes() == brought.images[0].tobytes()
    assert len(gets(host)) == 1
    with pytest.raises(WorkflowRejected, match=r"brought\.safetensors' is not in") as caught:
        fetching.run(graph)
    assert "fetched-" not in str(caught.value)


def test_a_fetched_file_is_seen_by_its_job_alone(fetching: Worker, host: ModelHost) -> None:
    host.add("/shared/x", LORA)
    before = fetching.embedded_runtime().model_files("loras")
    seen = shown(fetching, lora("x.safetensors", offer("/shared/x", "x.safetensors")))
    assert seen["sha256"] == hashlib.sha256(LORA).hexdigest()
    assert seen["thread"], "code of the job that has threads of its own finds it"
    assert sorted(seen["names"]) == sorted([*before, seen["name"]])
    assert fetching.embedded_runtime().model_files("loras") == before
    for name in ("x.safetensors", seen["name"]):
        with pytest.raises(WorkflowRejected):
            fetching.run(lora(name))
        assert fetching.run({"1": graphs.node("TestReadsAnyModel", name=name)}).text == ["nothing"]
    host.add("/shared/y", safetensors(400_000, "other"))
    other = shown(fetching, lora("x.safetensors", offer("/shared/y", "x.safetensors")))
    assert other["sha256"] != seen["sha256"], "a name that packs keep is another one for another address"
    again = shown(fetching, lora("x.safetensors", offer("/shared/x", "x.safetensors")))
    assert again["sha256"] == seen["sha256"]


def refusal(worker: Worker, request: dict[str, Any]) -> str:
    """The only line about why a model was not fetched."""
    with pytest.raises(ModelsNotFetched) as caught:
        worker.run(request)
    (line,) = caught.value.details
    assert caught.value.answer()["error_type"] == "model_fetch"
    return line


def kept(cache: Path) -> set[str]:
    """The whole files in the cache, by their hash."""
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in cache.glob("files/*/model.*")}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"statuses": [401]}, "refuses it (401): it may need a login"),
        ({"statuses": [403]}, "refuses it (403)"),
        ({"content": b"<!doctype html><p>please log in", "sha256": ""}, "a web page, not a model"),
        ({"content": b"PK\x03\x04" + bytes(5000), "sha256": ""}, "it is no safetensors file"),
        ({"content": LORA[:-1000], "sha256": ""}, "it is cut off"),
        ({"length": 4_000_000, "cuts": 99, "cut": 1000}, "its server ended the connection"),
        ({"length": 1000}, "it is cut off"),
        ({"redirect": "https://10.0.0.1/x"}, "not on the public internet"),
        ({"redirect": "https://metadata.internal/x"}, "was not found on the public internet"),
        ({"redirect": "http://cdn.example.com/x"}, "no https URL"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_told_and_leaves_nothing(
    fetching: Worker, host: ModelHost, cache: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], text: str
) -> None:
    monkeypatch.setattr("worker.fetch.remote._PAUSES_S", (0.0,))
    served = host.add("/shared/x", LORA, tell=False)
    for name, value in change.items():
        setattr(served, name, value)
    line = refusal(fetching, lora("x.safetensors", offer("/shared/x", "x.safetensors")))
    assert line.startswith("loras/x.safetensors: ")
    assert text in line
    assert str(cache) not in line
    assert kept(cache) == set()
    assert {request.host for request in host.requests} == {HOST}


def test_what_is_not_there_or_busy(fetching: Worker, host: ModelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.fetch.remote._PAUSES_S", (0.0,))
    request = lora("x.safetensors", offer("/shared/x", "x.safetensors"))
    assert "it is not there (404)" in refusal(fetching, request)
    served = host.add("/shared/x", LORA)
    served.statuses = [429, 503, 429]
    assert shown(fetching, request)["sha256"] == served.sha256
    host.add("/shared/y", LORA).statuses = [429] * 50
    assert "its server is busy (429)" in refusal(fetching, lora("x.safetensors", offer("/shared/y", "x.safetensors")))


def test_the_hash_decides(fetching: Worker, host: ModelHost, cache: Path) -> None:
    for tell in (True, False):
        served = host.add("/shared/x", LORA, tell=tell)
        wrong = offer("/shared/x", "x.safetensors", sha256="0" * 64)
        assert f"and must be {'0' * 64}" in refusal(fetching, lora("x.safetensors", wrong)).replace("it must", "must")
    right = offer("/shared/x", "x.safetensors", sha256=hashlib.sha256(LORA).hexdigest().upper())
    assert shown(fetching, lora("x.safetensors", right))["sha256"] == hashlib.sha256(LORA).hexdigest()
    served.content = safetensors(400_000, "changed")
    assert shown(fetching, lora("x.safetensors", right))["sha256"] == hashlib.sha256(LORA).hexdigest()
    without = lora("x.safetensors", offer("/shared/x", "x.safetensors"))
    assert shown(fetching, without)["sha256"] == hashlib.sha256(served.content).hexdigest(), "it brings no hash"
    assert len(kept(cache)) == 2


def test_a_redirect_may_leave_the_sources_without_a_token(
    worker: Worker, settings: Settings, host: ModelHost, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = {"hf_token": SecretStr("hf-secret")}
    sources = ("huggingface.co/open", HOST)
    _with(worker, settings, monkeypatch, model_sources=sources, model_cache_dir=cache, **tokens)
    host.add("/open/a", LORA).redirect = "https://huggingface.co/private/a"
    host.add("/private/a", LORA).redirect = "https://cdn.example.com/a"
    host.add("/a", LORA)
    host.add("/b", LORA).redirect = "https://huggingface.co/private/a"
    entry = offer("", "x.safetensors") | {"url": "https://huggingface.co/open/a"}
    assert shown(worker, lora("x.safetensors", entry))["sha256"] == hashlib.sha256(LORA).hexdigest()
    assert shown(worker, lora("x.safetensors", offer("/b", "x.safetensors")))
    sent = {(request.host, request.path): request.authorization for request in host.requests}
    assert sent == {
        ("huggingface.co", "/open/a"): "Bearer hf-secret",
        ("huggingface.co", "/private/a"): None,
        ("cdn.example.com", "/a"): None,
        (HOST, "/b"): None,
    }
    entry["url"] = "https://huggingface.co/private/a"
    assert "this worker fetches no models from its address" in refusal(worker, lora("x.safetensors", entry))


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        (f"https://{HOST}/shared/a", True), (f"https://{HOST.upper()}:443/shared/b/c?x=1", True),
        (f"https://{HOST}/shared", True), (f"https://{HOST}/sharedness/a", False), (f"https://{HOST}/a", False),
        (f"https://{HOST}/shared/../a", False), (f"https://{HOST}/shared/%2e%2e/a", False),
        (f"https://{HOST}/shared/%2E%2e%2fa", False), (f"https://{HOST}/shared//a", False),
        (f"https://{HOST}/%73hared/a", False), (f"https://{HOST}/shared/;/../a", False),
        (f"http://{HOST}/shared/a", False), (f"https://{HOST}:444/shared/a", False),
        (f"https://{HOST}.evil.com/shared/a", False), (f"https://evil.{HOST}/shared/a", False),
        (f"https://evil.com/{HOST}/shared/a", False), (f"https://{HOST}./shared/a", False),
        ("https://other.example.com:8443/a", True), ("https://other.example.com/a", False),
    ],
)  # fmt: skip
def test_sources_are_matched_by_whole_segments(url: str, is_one: bool) -> None:
    assert Sources((f"{HOST}/shared", "other.example.com:8443")).has(url) is is_one


@pytest.mark.parametrize(
    ("models", "text"),
    [
        ("x", "must be a list of objects with 'name', 'url' and 'directory' keys, not a string"),
        ([1], "and has 1"),
        ([{}], "'name' is missing or no text"),
        ([offer("/x", "")], "'name' is missing"),
        ([offer("/x", "x.safetensors", 3)], "'directory' is missing or no text"),  # type: ignore[arg-type]
        ([offer("/x", "../x.safetensors")], "the 'name' of '../x.safetensors' cannot be used"),
        ([offer("/x", "a/../../x.safetensors")], "the 'name'"),
        ([offer("/x", "..\\x.safetensors")], "the 'name'"),
        ([offer("/x", "/etc/x.safetensors")], "the full path of a file"),
        ([offer("/x", "C:/x.safetensors")], "the full path of a file"),
        ([offer("/x", ".hidden.safetensors")], "hidden"),
        ([offer("/x", "a\0.safetensors")], "not allowed in a name"),
        ([offer("/x", "x.safetensors", "../loras")], "the 'directory' of"),
        ([offer("/x", "x.safetensors", "/loras")], "the 'directory' of"),
        ([offer("/x", "x.safetensors", "loras/..")], "the 'directory' of"),
        ([offer("/x", "x.safetensors", sha256="abc")], "must have 64 hexadecimal digits, not 'abc'"),
        ([offer("/x", "x.safetensors") | {"url": "file:///etc/passwd"}], "it is no http(s) URL"),
        ([offer("/x", "x.safetensors") | {"url": f"https://a:b@{HOST}/x"}], "a user name or a password"),
        ([offer("/x", "x.sft"), offer("/y", "x.sft")], "is there twice, and differs"),
        ([offer("/x", f"{index}.sft") for index in range(65)], "has 65 entries, the limit is 64"),
    ],
)  # fmt: skip
def test_entries_that_cannot_be_meant_are_refused(models: Any, text: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        parse_job({"input": {"workflow": graphs.solid(), "models": models}})
    assert text in str(caught.value)
    assert str(caught.value).startswith("'models'")


def test_without_sources_nothing_is_fetched(worker: Worker, host: ModelHost) -> None:
    host.add("/shared/x", LORA)
    with pytest.raises(WorkflowRejected, match=r"'x\.safetensors' is not in"):
        worker.run(lora("x.safetensors", offer("/shared/x", "x.safetensors")))
    assert not host.requests


@pytest.mark.parametrize(
    ("name", "directory", "text"),
    [
        ("x.ckpt", "loras", "can run code when it is loaded: this worker fetches none (MODEL_PICKLES)"),
        ("x.txt", "loras", "is no model file"),
        ("x.onnx", "loras", "loras takes .bin, "),
    ],
)
def test_kinds_of_files_that_are_not_fetched(
    fetching: Worker, host: ModelHost, name: str, directory: str, text: str
) -> None:
    host.add("/shared/x", LORA)
    assert text in refusal(fetching, lora(name, offer("/shared/x", name, directory)))
    assert not host.requests


def test_pickles_where_the_operator_allows_them(
    worker: Worker, settings: Settings, host: ModelHost, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {"model_sources": (HOST,), "model_cache_dir": cache}
    _with(worker, settings, monkeypatch, model_pickles="allow", **sources)
    served = host.add("/x", b"PK\x03\x04" + bytes(5000))
    assert shown(worker, lora("x.pt", offer("/x", "x.pt")))["sha256"] == served.sha256
    _with(worker, settings, monkeypatch, **sources)
    refusal(worker, lora("x.pt", offer("/x", "x.pt")))
    assert "safetensors" in refusal(worker, lora("x.sft", offer("/x", "x.sft"))), "it was not fetched under this ending"


def test_an_installed_file_wins(fetching: Worker, host: ModelHost, base_dir: Path) -> None:
    folder = base_dir / "models" / "loras"
    folder.mkdir(exist_ok=True)
    installed = folder / "mine.safetensors"
    installed.write_bytes(LORA)
    try:
        remember(installed, hashlib.sha256(LORA).hexdigest())
        host.add("/shared/x", safetensors(400_000, "other"))
        request = lora("mine.safetensors", offer("/shared/x", "mine.safetensors", sha256="1" * 64))
        result = fetching.run(request)
        assert json.loads(result.text[0])["sha256"] == hashlib.sha256(LORA).hexdigest()
        assert result.warnings == (
            "'models': loras/mine.safetensors is installed on this worker with another SHA-256, and was used",
        )
        assert not host.requests
    finally:
        installed.unlink()


def test_what_the_workflow_does_not_name_is_told(fetching: Worker, host: ModelHost) -> None:
    request = {"workflow": graphs.solid(), "models": [offer("/shared/x", "x.safetensors")]}
    result = fetching.run(request)
    assert result.ok
    expected = "'models': no node of the workflow names loras/x.safetensors, so it was not fetched"
    assert result.warnings == (expected,)
    assert not host.requests


def test_names_in_other_spellings(fetching: Worker, host: ModelHost) -> None:
    host.add("/shared/x", LORA)
    entry = offer("/shared/x", "x.safetensors")
    full = "C:\\models\\loras\\x.safetensors"
    for name, ends in (
        ("XL\\x.safetensors", "/XL/x.safetensors"),
        (full, "/x.safetensors"),
        ("../../x.safetensors", "/x.safetensors"),
    ):
        seen = shown(fetching, lora(name, entry))["name"]
        assert seen.startswith("fetched-")
        assert seen.endswith(ends)
        assert ".." not in seen
    again = shown(fetching, lora(seen, entry))["name"]
    assert again == seen, "the name in the metadata of a file means the same"


def test_a_model_of_an_unknown_input_and_of_another_kind(fetching: Worker, host: ModelHost) -> None:
    host.add("/shared/x", LORA)
    graph = {"1": graphs.node("TestReadsAnyModel", name="x.safetensors")}
    models = [offer("/shared/x", "x.safetensors")]
    assert fetching.run({"workflow": graph, "models": models}).text == [hashlib.sha256(LORA).hexdigest()]
    other = lora("x.safetensors", offer("/shared/x", "x.safetensors", "vae"))
    with pytest.raises(WorkflowRejected):
        fetching.run(other)


def test_a_job_that_cannot_run_fetches_nothing(fetching: Worker, host: ModelHost) -> None:
    host.add("/shared/x", LORA)
    request = lora("x.safetensors", offer("/shared/x", "x.safetensors"))
    request["workflow"]["2"] = graphs.node("NoSuchClass")
    with pytest.raises(WorkflowRejected, match="NoSuchClass"):
        fetching.run(request)
    assert not host.requests


def test_two_jobs_fetch_a_file_once(fetching: Worker, host: ModelHost) -> None:
    served = host.add("/shared/x", LORA)
    served.rate = 400_000
    request = lora("x.safetensors", offer("/shared/x", "x.safetensors"))

    async def both() -> list[Any]:
        return await asyncio.gather(*(fetching.arun(request) for _ in range(2)))

    results = asyncio.run(both())
    assert {json.loads(result.text[0])["sha256"] for result in results} == {served.sha256}
    assert len(gets(host)) == 1
    assert host.sent == len(LORA)


def test_a_stopped_job_leaves_a_part_for_the_next(fetching: Worker, host: ModelHost, cache: Path) -> None:
    served = host.add("/shared/x", LORA)
    served.rate = 200_000
    request, events = lora("x.safetensors", offer("/shared/x", "x.safetensors")), list[Event]()

    async def stopped() -> float:
        task = asyncio.create_task(fetching.arun(request, on_event=events.append))
        while not events:  # noqa: ASYNC110 - they come on another thread.
            await asyncio.sleep(0.05)
        began = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.perf_counter() - began

    assert asyncio.run(stopped()) < 2
    (part,) = cache.glob("files/*/.comfy-worker/*.part")
    had = part.stat().st_size
    assert 0 < had < len(LORA)
    served.rate = 0
    assert shown(fetching, request)["sha256"] == served.sha256
    (_, last) = gets(host)
    assert last.range is not None
    assert int(last.range.removeprefix("bytes=").rstrip("-")) >= had


def test_too_slow_a_host(
    worker: Worker, settings: Settings, host: ModelHost, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = {"model_sources": (HOST,), "model_cache_dir": cache}
    _with(worker, settings, monkeypatch, model_fetch_timeout_s=0.6, **update)
    host.add("/x", LORA).rate = 200_000
    request = lora("x.safetensors", offer("/x", "x.safetensors"))
    line = refusal(worker, request)
    assert "it was not there after 0.6 s (MODEL_FETCH_TIMEOUT_S), " in line
    assert " of 400.0 KB have come: send the job again to go on there" in line
    host.files["/x"].rate = 0
    assert shown(worker, request)["sha256"] == hashlib.sha256(LORA).hexdigest()
    assert gets(host)[-1].range not in (None, "bytes=0-")


def test_progress_tells_megabytes(fetching: Worker, host: ModelHost) -> None:
    served = host.add("/shared/x", safetensors(2_000_000))
    served.rate = 2_000_000
    progress, reports = JobProgress(), list[dict[str, Any]]()

    def hear(event: Event) -> None:
        progress(event)
        reports.append(progress.report())

    shown(fetching, lora("x.safetensors", offer("/shared/x", "x.safetensors")), on_event=hear)
    during = [report for report in reports if report["stage"] == "downloading"]
    assert during[0]["download_mb"] == 2.0
    assert 0 < during[0]["downloaded_mb"] < 2
    assert during[0]["message"].startswith("downloading models, ")
    assert during[0]["percent"] == 0
    assert reports[-1]["stage"] == "saving"


def test_where_the_time_went(fetching: Worker, host: ModelHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add("/shared/x", LORA).rate = 1_000_000
    monkeypatch.setattr(fetching, "settings", fetching.settings.model_copy(update={"report_metrics": "on"}))
    request = {"id": "a", "input": lora("x.safetensors", offer("/shared/x", "x.safetensors"))}
    answer = asyncio.run(make_handler(fetching)(request))
    metrics: Any = answer["metrics"]
    assert [row["phase"] for row in metrics["phases"]][:4] == ["parse", "fetching", "staging", "queue"]
    assert metrics["phases"][1]["ms"] > 300
    assert metrics["bytes_fetched"] == len(LORA)
    again: Any = asyncio.run(make_handler(fetching)(request))
    assert "bytes_fetched" not in again["metrics"]


def test_an_editors_own_list(fetching: Worker, host: ModelHost) -> None:
    host.add("/shared/x", LORA)
    listed = [offer("/shared/x", "x.safetensors"), offer("/x", "y.safetensors"), {"name": "../z", "url": 5}, "nonsense"]
    node = {
        "id": 1, "type": "TestReadsLora", "mode": 0, "inputs": [], "outputs": [], "pos": [0, 0], "size": [1, 1],
        "flags": {}, "order": 0, "properties": {"models": listed}, "widgets_values": ["x.safetensors"],
    }  # fmt: skip
    workflow = {"version": 0.4, "last_node_id": 1, "last_link_id": 0, "links": [], "nodes": [node]}
    assert shown(fetching, {"workflow": workflow})["sha256"] == hashlib.sha256(LORA).hexdigest()
    node["widgets_values"] = ["y.safetensors"]
    with pytest.raises(WorkflowRejected, match=r"the workflow says that it is at https://models.example.com/x"):
        fetching.run({"workflow": workflow})
    assert {request.path for request in host.requests} == {"/shared/x"}


def test_an_embedding_in_a_prompt(fetching: Worker, host: ModelHost, base_dir: Path, tiny_checkpoint: Path) -> None:
    content = save({"emb_params": torch.full((1, 768), 3.0)})
    host.add("/shared/e", content)

    def graph(text: str) -> dict[str, Any]:
        found = graphs.text_to_image(seed=5)
        found["6"]["inputs"]["text"] = text
        return found

    plain = fetching.run(graph("a lake, embedding:nothing"))
    folder = base_dir / "models" / "embeddings"
    folder.mkdir(exist_ok=True)
    installed = folder / "there.safetensors"
    installed.write_bytes(content)
    try:
        expected = fetching.run(graph("a lake, embedding:there"))
    finally:
        installed.unlink()
    models = [offer("/shared/e", "mine.safetensors", "embeddings")]
    for text in ("a lake, embedding:mine", "a lake, embedding:mine.safetensors"):
        brought = fetching.run({"workflow": graph(text), "models": models})
        assert brought.images[0].tobytes() == expected.images[0].tobytes() != plain.images[0].tobytes()


def test_least_recently_used_files_make_room(
    worker: Worker, settings: Settings, host: ModelHost, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = {"model_sources": (HOST,), "model_cache_dir": cache, "model_cache_gb": 1e-3}
    _with(worker, settings, monkeypatch, **update)
    for name in "abcd":
        host.add(f"/{name}", safetensors(400_000, name))

    def run(name: str) -> dict[str, Any]:
        time.sleep(0.02)  # The times of files tick slowly.
        return shown(worker, lora("x.safetensors", offer(f"/{name}", "x.safetensors")))

    def there() -> set[str]:
        return {name for name in "abcd" if host.files[f"/{name}"].sha256 in kept(cache)}

    for name in "aba":
        run(name)
    stranger = cache / "files" / "mine.safetensors"
    stranger.write_bytes(LORA)
    os.utime(stranger, (0, 0))
    run("c")
    assert there() == {"a", "c"}
    assert stranger.exists()
    (entry,) = (path for path in (cache / "index").iterdir() if json.loads(path.read_text())["url"].endswith("/a"))
    holds = "import sys, time; from pathlib import Path; from worker.on_demand.leases import Lease; "
    holds += "lease = Lease.shared(Path(sys.argv[1])); print('has it', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", holds, str(cache / "leases" / entry.stem)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        run("c")
        run("d")
        assert there() == {"a", "d"}, "what another worker has a lease on stays, though it was not used for longest"
        other.kill()  # It has no time to give anything back.
    run("b")
    assert there() == {"b", "d"}
    run("a")
    host.add("/large", safetensors(1_200_000))
    line = refusal(worker, lora("x.safetensors", offer("/large", "x.safetensors")))
    assert "it has 1.2 MB, and all models that jobs bring may have 1.0 MB (MODEL_CACHE_GB)" in line
    assert there() == {"a", "b"}
    assert sorted(path.name for path in cache.iterdir()) == [".comfy-worker", "files", "index", "leases"]
    assert len(list((cache / "leases").iterdir())) == len(list((cache / "index").iterdir())) == 2


def test_no_room(
    worker: Worker, settings: Settings, host: ModelHost, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = {"model_sources": (HOST,), "model_cache_dir": cache, "model_cache_gb": 1e-3}
    _with(worker, settings, monkeypatch, **update)
    first = host.add("/a", safetensors(700_000, "a"))
    host.add("/b", safetensors(700_000, "b"))
    job = parse_job({"input": lora("x.safetensors", offer("/a", "x.safetensors"))})
    _, models = worker.on_demand.bring(job, worker.embedded_runtime(), None, None)  # A job that waits for its turn.
    line = refusal(worker, lora("x.safetensors", offer("/b", "x.safetensors")))
    assert "they may have 1.0 MB (MODEL_CACHE_GB), and workers use what is there" in line
    assert kept(cache) == {first.sha256}
    mapped = mmap.mmap((file := models.files[0].path.open("rb")).fileno(), 0, access=mmap.ACCESS_READ)
    file.close()
    models.release()
    assert keys_in_use(cache / "files") == {models.files[0].path.parent.name}
    other = Lease.exclusive(cache / "leases" / models.files[0].path.parent.name)
    assert other is None, "ComfyUI still has it mapped, so no other worker may remove it"
    assert shown(worker, lora("x.safetensors", offer("/b", "x.safetensors"))), "but its own process may"
    assert len(mapped[:]) == 700_000
    mapped.close()


def test_a_full_disk(fetching: Worker, host: ModelHost, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        host.add(f"/shared/{name}", safetensors(400_000, name))
    shown(fetching, lora("x.safetensors", offer("/shared/a", "x.safetensors")))
    usage = shutil.disk_usage(cache)._replace(free=(64 << 20) + 100_000)
    monkeypatch.setattr("worker.on_demand.store.shutil.disk_usage", lambda _: usage)
    shown(fetching, lora("x.safetensors", offer("/shared/b", "x.safetensors")))
    assert kept(cache) == {host.files["/shared/b"].sha256}, "the other one has made room on the disk"
    host.add("/shared/c", safetensors(900_000, "c"))
    line = refusal(fetching, lora("x.safetensors", offer("/shared/c", "x.safetensors")))
    assert line == "loras/x.safetensors: there is no room for it on the worker's disk"
    assert kept(cache) == {host.files["/shared/b"].sha256}, "nothing is removed where that would not be enough"


def test_a_size_that_nobody_tells(
    worker: Worker, settings: Settings, host: ModelHost, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.on_demand.fetching._STEP", 100_000)
    update = {"model_sources": (HOST,), "model_cache_dir": cache, "model_cache_gb": 5e-4}
    _with(worker, settings, monkeypatch, **update)
    for name, size in (("/a", 400_000), ("/b", 900_000)):
        served = host.add(name, safetensors(size), tell=False)
        served.chunked = True
    request = lora("x.safetensors", offer("/a", "x.safetensors"))
    assert shown(worker, request)["sha256"] == hashlib.sha256(safetensors(400_000)).hexdigest()
    line = refusal(worker, lora("x.safetensors", offer("/b", "x.safetensors")))
    assert "(MODEL_CACHE_GB)" in line
    assert kept(cache) <= {hashlib.sha256(safetensors(400_000)).hexdigest()}


def test_jobs_by_name_take_no_models(settings: Settings) -> None:
    only = settings.model_copy(update={"workflows_only": True})
    request = {"input": {"workflow": "portrait", "models": [offer("/x", "x.safetensors")]}}
    with pytest.raises(InvalidJob, match="takes no 'models'"):
        admitted_job(request, only)


def test_models_of_a_server_elsewhere(settings: Settings) -> None:
    remote = settings.model_copy(update={"comfy_backend": "websocket", "model_sources": (HOST,)})
    with pytest.raises(StartError, match="MODEL_SOURCES brings models to this machine"):
        ModelsOnDemand(remote)


def test_two_processes_on_one_volume(cache: Path) -> None:
    """Both start at once. Then each is killed, and what they have leased can be removed."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = context.Queue()
    with ModelHost() as plain:
        plain.add("/a", LORA).rate = 300_000
        arguments = (f"{plain.url}/a", cache, queue)
        others = [context.Process(target=bring_in_process, args=arguments, daemon=True) for _ in range(2)]
        for other in others:
            other.start()
        paths = {queue.get(timeout=60) for _ in others}
        assert len(paths) == 1
        assert plain.sent == len(LORA)
    lease = cache / "leases" / Path(paths.pop()).parent.name
    for other in others:
        assert Lease.exclusive(lease) is None
        other.kill()
        other.join()
    assert Lease.exclusive(lease) is not None


def test_a_killed_process_leaves_a_part(cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = context.Queue()
    with ModelHost() as plain:
        served = plain.add("/a", safetensors(4_000_000))
        served.rate = 400_000
        other = context.Process(target=bring_in_process, args=(f"{plain.url}/a", cache, queue), daemon=True)
        other.start()
        ends = time.monotonic() + 60
        while not any(part.stat().st_size for part in cache.glob("files/*/.comfy-worker/*.part")):
            assert time.monotonic() < ends
            time.sleep(0.05)
        other.kill()
        other.join()
        served.rate = 0
        store, wish = Store(cache, 10**9), Wish("a model", f"{plain.url}/a", ".safetensors")
        fetching = Fetching(store, Connections(Tokens(), any_host=True, read_s=1), 60)
        kept_file = fetching.bring([wish], None, threading.Event())[wish.key]
        assert kept_file.path.read_bytes() == served.content
        assert plain.requests[-1].range not in (None, "bytes=0-0", "bytes=0-")
        kept_file.lease.end()
