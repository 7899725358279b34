"""Jobs that bring their models by URL: what is fetched, who sees it, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
from certificate import make_certificate
from model_host import ModelHost, Request, safetensors

from worker import Worker
from worker.errors import InvalidJob, ModelsNotFetched, WorkflowRejected
from worker.events import Event, ModelsFetching
from worker.job.parse import parse_job
from worker.on_demand.models_on_demand import ModelsOnDemand
from worker.settings import Settings

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
    with pytest.raises(WorkflowRejected, match="'brought.safetensors' is not in the list") as caught:
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
