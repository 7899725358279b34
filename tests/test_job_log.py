"""The one line about a job in the log, and the reply when a step fails that never should."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import graphs
import pytest

from worker import Worker, handler
from worker.answer.outputs import collect
from worker.answer.reply import encode
from worker.answer.result import Result
from worker.engine.graph_run import RunResult
from worker.handler import JobHandler
from worker.logs import _PlainFormatter


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """Gives the fields of the lines about jobs so far."""
    caplog.set_level(logging.INFO, "worker")
    return lambda: [record.__dict__["fields"] for record in caplog.records if "fields" in record.__dict__]


@pytest.fixture
def searching(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[JobHandler, threading.Event]]:
    """Answers jobs. The search for the models of one that fails lasts until the event is set, as on a slow volume."""
    debugging = worker.settings.model_copy(update={"network_volume_debug": True})
    found = threading.Event()

    def look(*_: object) -> None:
        found.wait(60)
        logging.getLogger("worker.models").warning("looked for; the key is sk-secret-key")

    monkeypatch.setattr(worker, "settings", debugging)
    monkeypatch.setattr("worker.job_log.log_missing_models", look)
    yield JobHandler(worker), found
    found.set()


def _half_wrong() -> dict[str, Any]:
    graph = graphs.solid() | {"7": graphs.node("SaveImage", filename_prefix="lost")}
    return {"id": "half", "input": {"workflow": graph}}


def test_the_search_for_models_delays_no_answer(
    searching: tuple[JobHandler, threading.Event],
    lines: Callable[[], list[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler, found = searching
    stream = io.StringIO()
    log = logging.StreamHandler(stream)
    log.setFormatter(_PlainFormatter(()))
    logging.getLogger("worker").addHandler(log)
    job = _half_wrong()
    job["input"]["comfy_org_api_key"] = "sk-secret-key"
    try:
        for _ in range(2):
            assert "errors" in asyncio.run(handler.answer(job)), "it is here, and the models are still looked for"
        assert [line["outcome"] for line in lines()] == ["completed_with_errors"] * 2
        assert caplog.text.count("those of an earlier job still are") == 1
        assert "looked for; the key" not in stream.getvalue()
        found.set()
        assert handler._log._search is not None
        handler._log._search.wait(60)
    finally:
        logging.getLogger("worker").removeHandler(log)
    assert stream.getvalue().splitlines()[-1] == "[half] WARNING looked for; the key is ********"


def test_an_answer_that_cannot_be_encoded_is_an_answer_all_the_same(
    worker: Worker, lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there is no memory for it: without a reply, the caller would wait for ever."""

    def failing(answer: dict[str, Any], limit_mb: float | None = None) -> object:
        if "images" in answer:
            raise MemoryError
        return encode(answer, limit_mb)

    monkeypatch.setattr(handler, "encode", failing)
    reply = asyncio.run(JobHandler(worker).reply({"id": "a", "input": {"workflow": graphs.solid()}}))
    assert (reply.error, reply.output) == ("Internal error: MemoryError", b'{"error_type":"internal"}')
    assert [line["outcome"] for line in lines()] == ["internal"]


@pytest.mark.parametrize(("count", "is_on_loop"), [(1, True), (20, False)])
def test_many_outputs_of_one_node_leave_the_event_loop(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, count: int, is_on_loop: bool
) -> None:
    """As of a node that expands into twenty."""
    threads: list[threading.Thread] = []

    def collecting(ran: RunResult) -> Result:
        threads.append(threading.current_thread())
        return collect(ran)

    async def expanded(*given: Any) -> RunResult:
        ran = await Worker.run_graph(worker, *given)
        return replace(ran, outputs={node_id: outputs * count for node_id, outputs in ran.outputs.items()})

    monkeypatch.setattr(handler, "collect", collecting)
    monkeypatch.setattr(worker, "run_graph", expanded)
    answer = asyncio.run(JobHandler(worker).answer({"id": "a", "input": {"workflow": graphs.solid()}}))
    assert len(answer["images"]) == 1
    assert [thread is threading.current_thread() for thread in threads] == [is_on_loop]
