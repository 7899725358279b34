"""The one line about a job in the log, and the reply when a step fails that never should."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
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

_DIAGNOSIS_S = 0.5


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """Gives the fields of the lines about jobs so far."""
    caplog.set_level(logging.INFO, "worker")
    return lambda: [record.__dict__["fields"] for record in caplog.records if "fields" in record.__dict__]


@pytest.fixture
def diagnosing(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> JobHandler:
    """Answers jobs, and looks for the models of one that fails for half a second."""
    debugging = worker.settings.model_copy(update={"network_volume_debug": True})
    monkeypatch.setattr(worker, "settings", debugging)
    monkeypatch.setattr("worker.job_log.log_missing_models", lambda *_: time.sleep(_DIAGNOSIS_S))
    return JobHandler(worker)


def _half_wrong() -> dict[str, Any]:
    graph = graphs.solid() | {"7": graphs.node("SaveImage", filename_prefix="lost")}
    return {"id": "half", "input": {"workflow": graph}}


def test_a_job_that_is_stopped_while_its_models_are_looked_for_has_its_line(
    diagnosing: JobHandler, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    async def stop() -> None:
        job = asyncio.ensure_future(diagnosing.reply(_half_wrong()))
        await asyncio.sleep(_DIAGNOSIS_S / 2)
        assert not job.done()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(stop())
    assert [line["outcome"] for line in lines()] == ["stopped"]


def test_the_search_for_models_is_no_part_of_the_delivery(
    diagnosing: JobHandler, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    asyncio.run(diagnosing.reply(_half_wrong()))
    (line,) = lines()
    assert line["outcome"] == "completed_with_errors"
    assert line["seconds"]["deliver"] < _DIAGNOSIS_S < line["seconds"]["total"]


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
