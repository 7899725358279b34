"""Time limits, hung jobs, and what becomes of a worker whose job does not stop."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
import requests
from local_server import local_server, until_it_listens
from runpod_worker import Start, WorkerProcess

from worker import Worker
from worker.engine.graph_run import GraphRun
from worker.engine.life import Life
from worker.engine.time_limits import Patience, Signs, Watchdog
from worker.engine.turn import Turn
from worker.engine.workspace import Workspace
from worker.handler import make_handler

Command = Callable[..., "subprocess.CompletedProcess[str]"]
GRACE_S = 10


def ask(worker: Worker, workflow: graphs.Graph, **more: Any) -> Any:
    """The answer of the real handler."""
    return asyncio.run(make_handler(worker)({"id": "job", "input": {"workflow": workflow, **more}}))


def after_saving(class_type: str, **inputs: Any) -> graphs.Graph:
    """A picture is saved; only then a node runs that takes long, with another picture behind it."""
    graph = graphs.solid()
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="ComfyUI_00001_.png")
    graph["4"] = graphs.node(class_type, image=["3", 0], **inputs)
    graph["5"] = graphs.node("SaveImage", images=["4", 0], filename_prefix="late")
    return graph


@pytest.mark.backends("embedded", "websocket")
def test_at_its_deadline_a_job_is_stopped_and_says_so(worker: Worker) -> None:
    start = time.monotonic()
    answer = ask(worker, graphs.through("TestSleeps", steps=5000), timeout_s=1)
    assert time.monotonic() - start < 8
    assert answer == {
        "error": "The job ran for 1 s, which is its limit (timeout_s), and was stopped",
        "error_type": "timeout",
    }
    assert "error" not in ask(worker, graphs.solid()), "the next job is right"


def test_a_node_that_loops_and_heeds_no_interrupt_is_ended(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    before = ask(worker, graphs.solid())
    answer = ask(worker, after_saving("TestMisbehaves", deed="loops_deaf"), timeout_s=1)
    assert answer["error_type"] == "timeout"
    assert [image["filename"] for image in answer["images"]] == ["ComfyUI_00001_.png"]
    assert "A node did not heed its interrupt" in caplog.text
    assert worker.life.failure is None
    assert ask(worker, graphs.solid()) == before, "the next job is right"


def test_what_was_finished_by_then_is_sent(worker: Worker) -> None:
    answer = ask(worker, after_saving("TestSleeps", steps=5000), timeout_s=1.5)
    assert [image["filename"] for image in answer["images"]] == ["ComfyUI_00001_.png"]
    assert answer["error_type"] == "timeout"
    assert answer["errors"] == ["The job ran for 1.5 s, which is its limit (timeout_s), and was stopped"]


def test_a_job_that_is_in_time_hears_nothing_of_it(worker: Worker) -> None:
    assert set(ask(worker, graphs.solid(), timeout_s=60)) == {"images"}


@pytest.mark.parametrize("given", [0, -1, True, "10", 1e9, float("nan"), [1]])
def test_a_limit_that_is_none(worker: Worker, given: object) -> None:
    answer = ask(worker, graphs.solid(), timeout_s=given)
    assert answer["error_type"] == "invalid_input"
    assert answer["error"].startswith("'timeout_s' must be a number of seconds, above 0")


def test_the_operators_limit_caps_the_callers(command: Command, as_client: dict[str, str]) -> None:
    job = {"input": {"workflow": graphs.through("TestSleeps", steps=5000), "timeout_s": 600}}
    answer = command("--test_input", json.dumps(job), JOB_TIMEOUT_S="1", COMFY_LOG_LEVEL="ERROR", **as_client)
    assert "its limit (JOB_TIMEOUT_S)" in answer.stdout
    assert answer.returncode == 1


def test_run_keeps_the_limit_too(command: Command, tmp_path: Path, as_client: dict[str, str]) -> None:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(graphs.through("TestSleeps", steps=5000)))
    answer = command("run", path, "--out", tmp_path / "out", JOB_TIMEOUT_S="1", **as_client)
    assert answer.returncode == 1
    assert "The job ran for 1 s, which is its limit (JOB_TIMEOUT_S), and was stopped" in answer.stderr


def test_run_ends_also_where_a_node_does_not(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(after_saving("TestIgnoresInterrupts", seconds=300)))
    answer = command("run", path, "--out", tmp_path / "out", JOB_TIMEOUT_S="1")
    assert answer.returncode == 1
    assert "its limit (JOB_TIMEOUT_S)" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["ComfyUI_00001_.png"]


@pytest.fixture(scope="module")
def watched(start: Start) -> Iterator[WorkerProcess]:
    """A worker that gives a job two seconds without a sign of life."""
    with start(JOB_STALL_TIMEOUT_S="2") as process:
        yield process


def hanging(**inputs: Any) -> dict[str, Any]:
    """A job with the node that shows no sign of life."""
    return {"workflow": graphs.through("TestHangs", **inputs)}


def test_a_job_in_which_nothing_moves_counts_as_hung(watched: WorkerProcess) -> None:
    watched.api.give("hung", hanging(kind="sleep", seconds=60))
    body = watched.api.result("hung")
    assert body["output"]["error_type"] == "stalled"
    assert body["error"].startswith("The job hung and was stopped: for 2 s (JOB_STALL_TIMEOUT_S)")


def test_a_monitor_that_talks_is_no_sign_of_life(watched: WorkerProcess) -> None:
    graph = hanging(kind="sleep", seconds=60)
    graph["workflow"]["talk"] = graphs.node("TestMisbehaves", image=["1", 0], deed="leaves_monitor", count=20_000)
    node = next(node for node in graph["workflow"].values() if node["class_type"] == "TestHangs")
    node["inputs"]["image"] = ["talk", 0]
    watched.api.give("monitored", graph)
    assert watched.api.result("monitored")["output"]["error_type"] == "stalled"


def test_a_job_that_computes_is_not_hung(watched: WorkerProcess) -> None:
    watched.api.give("computes", hanging(kind="compute", seconds=4))
    assert set(watched.api.result("computes")["output"]) == {"images"}


def test_a_job_that_waits_for_the_network_is_not_hung(watched: WorkerProcess, silent_server: str) -> None:
    watched.api.give("waits", hanging(kind="network", seconds=0, address=silent_server))
    assert set(watched.api.result("waits")["output"]) == {"images"}


def test_a_node_that_does_not_stop_is_answered_and_the_worker_ends(start: Start) -> None:
    """The answer comes; what was not begun is left to the platform; the process ends with an error."""
    with start(WORKER_CONCURRENCY="2") as process:
        process.api.give("stuck", {"workflow": after_saving("TestIgnoresInterrupts", seconds=300), "timeout_s": 1})
        process.api.wait(lambda: process.api.progress("stuck"))
        process.api.give("waiting", {"workflow": graphs.solid()})
        process.api.wait(lambda: "waiting" in process.api.taken)
        begun = time.monotonic()
        body = process.api.result("stuck", GRACE_S + 15)
        assert time.monotonic() - begun < GRACE_S + 10
        output = body["output"]
        assert output["error_type"] == "timeout"
        assert [image["filename"] for image in output["images"]] == ["ComfyUI_00001_.png"], "what was finished is sent"
        assert process.end(15) == 1
        assert process.api.results("waiting") == [], "it was not begun: the platform gives it to another worker"
        assert "defunct" in process.log()


def test_a_cancelled_job_that_does_not_stop_ends_the_worker(start: Start) -> None:
    with start() as process:
        process.api.give("stuck", {"workflow": graphs.through("TestIgnoresInterrupts", seconds=300)})
        process.api.wait(lambda: process.api.progress("stuck"))
        process.api.stop("stuck")
        assert process.end(GRACE_S + 20) == 1
        assert "defunct" in process.log()


@pytest.mark.full
def test_a_node_that_swallows_every_interrupt_ends_the_worker(start: Start) -> None:
    with start() as process:
        process.api.give("deaf", {"workflow": after_saving("TestMisbehaves", deed="swallows"), "timeout_s": 1})
        output = process.api.result("deaf", GRACE_S + 15)["output"]
        assert output["error_type"] == "timeout"
        assert [image["filename"] for image in output["images"]] == ["ComfyUI_00001_.png"]
        assert process.end(15) == 1


@pytest.mark.full
def test_on_the_local_server_too(project: Path, base_dir: Path) -> None:
    """There is no other worker: who comes after is told so, and the process ends with an error."""
    stuck: Any = {"input": {"workflow": graphs.through("TestIgnoresInterrupts", seconds=300), "timeout_s": 1}}
    with local_server(project, base_dir, COMFY_ARGS="--cpu") as (process, url):
        until_it_listens(url)
        first, second = (
            requests.post(f"{url}/run", json=job, timeout=90).json()["id"]
            for job in (stuck, {"input": {"workflow": graphs.solid()}})
        )
        answer = requests.get(f"{url}/status-sync/{first}?wait=60000", timeout=90).json()
        assert (answer["status"], answer["output"]["error_type"]) == ("FAILED", "timeout")
        behind = requests.get(f"{url}/status-sync/{second}?wait=3000", timeout=90).json()
        assert (behind["status"], behind["output"]["error_type"]) == ("FAILED", "defunct")
        assert process.wait(30) == 1


def test_a_warm_up_comes_before_the_first_job(start_either: Start, tmp_path: Path) -> None:
    path = tmp_path / "warm.json"
    path.write_text(json.dumps(graphs.solid()))
    with start_either(WARMUP_WORKFLOW=str(path)) as process:
        assert process.log().index("warmed up in") < process.log().index("Ready for jobs")
        (line,) = [json.loads(line) for line in process.log().splitlines() if "Started in " in line]
        steps = line["start"]
        assert {"interpreter", "worker", "sdk", "warm-up", "rest"} <= steps.keys()
        assert sum(steps.values()) == pytest.approx(2 * steps["total"], abs=0.1)
        assert f"warm-up {steps['warm-up']:.2f}" in line["message"]
    path.write_text(json.dumps(graphs.through("TestRaises")))
    with start_either(WARMUP_WORKFLOW=str(path)) as process:
        assert "WARMUP_WORKFLOW failed: Workflow execution error" in process.log()
        process.api.give("job", {"workflow": graphs.solid()})
        assert "images" in process.api.result("job")["output"], "other workflows may run"


def test_a_warm_up_that_is_required(start_either: Start, tmp_path: Path) -> None:
    path = tmp_path / "warm.json"
    path.write_text(json.dumps(graphs.through("TestRaises")))
    required = {"WARMUP_REQUIRED": "true", "wait": False}
    with start_either(WARMUP_WORKFLOW=str(path), **required) as process:
        assert process.end(60) == 3
        assert "The worker cannot start: WARMUP_WORKFLOW failed: Workflow execution error" in process.log()
        assert "Ready for jobs" not in process.log()
        assert "Traceback" not in process.log().partition("cannot start")[2]
    with start_either(**required) as process:
        assert process.end(60) == 3
        assert "set WARMUP_WORKFLOW" in process.log()


def test_a_warm_up_that_is_none(start_either: Start, tmp_path: Path) -> None:
    with start_either(WARMUP_WORKFLOW=str(tmp_path / "none.json"), wait=False) as process:
        assert process.end(60) == 3
        assert "WARMUP_WORKFLOW: " in process.log()


def test_a_life() -> None:
    life = Life()
    heard: list[tuple[bool, str | None]] = []
    life.on_end(lambda: heard.append((life.takes_jobs, life.failure)))
    assert life.takes_jobs
    life.drain("told to")
    life.drain("again")
    assert not life.takes_jobs
    life.fail("broken")
    life.fail("broken again")
    assert life.failure == "broken"
    assert heard == [(False, None), (False, "broken")]
    late: list[str] = []
    life.on_end(lambda: late.append("at once"))
    assert late == ["at once"], "a listener that comes late is called all the same"


def test_a_job_does_not_inherit_the_silence_of_the_one_before(tmp_path: Path) -> None:
    """A sign of life of the first job is noted when the second one has begun, which takes a moment to find out."""
    first, second = (Turn(GraphRun({}, Workspace(tmp_path / "jobs" / name))) for name in "ab")
    first.started, second.started = 100.0, 105.0
    signs = [True, False]

    def moves() -> bool:
        sign = signs.pop(0)
        if sign:
            watchdog.begin(second)
        return sign

    watchdog = Watchdog(Patience(stall_s=5), Signs(moves), interrupt=lambda _: None, abandon=lambda _: None)
    watchdog.close()  # No thread looks meanwhile.
    watchdog._look(first, 102.0)
    watchdog._look(second, 108.0)
    assert (signs, second.ending) == ([], None)
