"""Nodes that wait for a person in ComfyUI's page."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import graphs
import pytest
from runpod_worker import Start, WorkerProcess

from worker.embedded.watch import activity as activity_module
from worker.embedded.watch.activity import Activity


@pytest.fixture(scope="module")
def process(start: Start) -> Iterator[WorkerProcess]:
    with start(PAGE_WAIT_S="1.5") as process:
        yield process


def ends(process: WorkerProcess, class_type: str, how: str) -> None:
    """Give a job with this node, and look at its answer."""
    job = class_type + how
    process.api.give(job, {"workflow": graphs.through(class_type, how=how)})
    body = process.api.result(job)
    assert body["output"]["error_type"] == "stalled"
    assert body["error"] == (
        f"Node 3 ({class_type}) waits for somebody to answer in ComfyUI's page, which a worker does not have, "
        "and was stopped (PAGE_WAIT_S): take it out of the workflow"
    )


@pytest.mark.parametrize(("class_type", "how"), [("TestWaitsForPage", "loop"), ("TestAwaitsPage", "")])
def test_a_node_that_waits_for_the_page_ends_its_job(process: WorkerProcess, class_type: str, how: str) -> None:
    ends(process, class_type, how)
    process.api.give("next" + how, {"workflow": graphs.solid()})
    assert set(process.api.result("next" + how)["output"]) == {"images"}


@pytest.mark.full
def test_if_the_wait_cannot_be_interrupted_the_worker_ends_after_its_answer(start: Start) -> None:
    with start(PAGE_WAIT_S="1.5") as process:
        ends(process, "TestWaitsForPage", "event")
        assert process.end(15) == 1


@pytest.mark.parametrize("how", ["download", "child"])
def test_a_node_that_waits_for_something_else_goes_on(process: WorkerProcess, how: str, silent_server: str) -> None:
    process.api.give(how, {"workflow": graphs.through("TestWaitsForPage", how=how, address=silent_server)})
    output = process.api.result(how)["output"]
    assert set(output) == {"images"}, output


def test_a_node_that_sleeps_in_a_core_loop_is_none(process: WorkerProcess) -> None:
    process.api.give("sleeps", {"workflow": graphs.through("TestSleeps", steps=60)})
    assert set(process.api.result("sleeps")["output"]) == {"images"}


def test_a_look_while_a_run_begins_takes_no_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog's thread looks at any time. What was open before the run is not the run's."""
    activity, names, looks = Activity(lambda: None), activity_module._names, iter([True])

    def names_while_looked_at(folder: Path) -> list[str]:
        if next(looks, False):
            activity.moves()
        return names(folder)

    with socket.socket(), monkeypatch.context() as patched:
        patched.setattr(activity_module, "_names", names_while_looked_at)
        activity.begin()
        activity.moves()
        assert not activity.has_helpers()
