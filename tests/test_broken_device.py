"""What becomes of a job, and of its worker, when the device breaks: with a stand-in, and on a real GPU."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import graphs
import pytest
from runpod_worker import Start, WorkerProcess

from worker import Worker

ANSWERED_S = 15.0


def breaking_cuda(deed: str) -> graphs.Graph:
    """A picture is saved; then a node really breaks the device."""
    graph = graphs.solid()
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="ComfyUI_00001_.png")
    graph["5"] = graphs.node("TestBreaksCuda", image=["3", 0], deed=deed)
    graph["6"] = graphs.node("SaveImage", images=["5", 0], filename_prefix="late")
    return graph


def breaking(how: str, when: str = "now") -> graphs.Graph:
    """A picture is saved; then a node breaks the device, with another picture behind it."""
    graph = graphs.solid()
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="ComfyUI_00001_.png")
    graph["4"] = graphs.node("TestOnDevice", image=["3", 0])
    graph["5"] = graphs.node("TestBreaksDevice", image=["3", 0], resident=["4", 0], how=how, when=when)
    graph["6"] = graphs.node("SaveImage", images=["5", 0], filename_prefix="late")
    return graph


def answer(process: WorkerProcess, job_id: str, within_s: float = ANSWERED_S) -> dict[str, Any]:
    """The answer to a job. If none comes in time, the failure shows the stack of each thread."""
    try:
        return dict(process.api.result(job_id, within_s))
    except AssertionError:
        code = process.process.poll()
        if code is None:
            os.kill(process.process.pid, signal.SIGQUIT)
            code = process.end(10)
        pytest.fail(f"no answer within {within_s:g} s; exit code {code}; the log:\n{process.log()[-20_000:]}")


@pytest.mark.parametrize(
    "how",
    [
        "raises",
        "blocks",
        "keeps the lock",
        "blocks while freed",
        "aborts",
        "dies",
        "blocks in a pack",
        "keeps the lock in a pack",
        "aborts in a pack",
        "blocks at the end",
        "keeps the lock at the end",
    ],
)
def test_a_broken_device_ends_in_an_answer(start: Start, how: str) -> None:
    with start(TEST_CUDA="1", WORKER_CONCURRENCY="2", REPORT_METRICS="full") as process:
        assert_answered(process, breaking(how))


def test_a_failure_that_comes_after_the_node(start: Start, worker: Worker) -> None:
    """Kernels run later than they are called, so ComfyUI may hear of an error when it tidies up after the node."""
    if not hasattr(worker.embedded_runtime().main.comfy, "memory_management"):
        pytest.skip("this version does not tidy up after a node")
    with start(TEST_CUDA="1") as process:
        assert_answered(process, breaking("raises", "unheard"))


def test_a_device_that_breaks_between_jobs(start: Start) -> None:
    with start(TEST_CUDA="1") as process:
        process.api.give("before", {"workflow": breaking("raises", "later")})
        assert "images" in answer(process, "before")["output"]
        time.sleep(1.5)
        process.api.give("after", {"workflow": graphs.solid()})
        assert process.end(20) == 1
        assert process.api.lost() == {"after"}, "another worker can do it"


@pytest.mark.gpu
@pytest.mark.parametrize(
    "deed", ["device_side_assert", "temporaries", "illegal_access", "launch_failure", "never_returns"]
)
def test_a_gpu_that_is_really_broken(start: Start, deed: str) -> None:
    with start(COMFY_ARGS="", WORKER_CONCURRENCY="2", REPORT_METRICS="full") as process:
        assert_answered(process, breaking_cuda(deed))


@pytest.mark.gpu
def test_a_process_that_is_killed_while_the_gpu_computes(start: Start) -> None:
    """Nobody can answer then, so RunPod gives the job to another worker."""
    with start(COMFY_ARGS="") as process:
        process.api.give("killed", {"workflow": breaking_cuda("is_killed")})
        assert process.end(ANSWERED_S + 10) == -signal.SIGKILL
        assert process.api.lost() == {"killed"}


def test_a_crash_without_a_gpu_is_left_to_the_platform(start: Start) -> None:
    with start() as process:
        process.api.give("crashes", {"workflow": breaking("dies")})
        assert process.end(30) == -signal.SIGABRT
        assert process.api.lost() == {"crashes"}
        assert "The worker has crashed (SIGABRT). Its threads:" in process.log()


def test_an_answer_that_is_under_way_is_not_lost(start: Start) -> None:
    with start(TEST_CUDA="1", WORKER_CONCURRENCY="2") as process:
        process.api.answers = [503, 503, 503]  # So the first answer waits while the device breaks.
        process.api.give("first", {"workflow": graphs.solid(0x00FF00)})
        process.api.give("breaks", {"workflow": breaking("blocks in a pack")})
        assert answer(process, "breaks")["output"]["error_type"] == "device"
        assert "images" in answer(process, "first")["output"]
        assert process.end(25) == 1
        assert [len(process.api.results(job_id)) for job_id in ("first", "breaks")] == [1, 1]


def assert_answered(process: WorkerProcess, graph: graphs.Graph) -> None:
    """Expect that the graph's job gets one answer in time, that the worker ends, and that no other answer is lost."""
    api = process.api
    api.give("good", {"workflow": graphs.solid(0x00FF00)})
    assert "images" in answer(process, "good")["output"]
    api.give("breaks", {"workflow": graph})
    api.wait(lambda: "breaks" in api.taken)
    api.give("waits", {"workflow": graphs.solid(0x0000FF)})
    output = answer(process, "breaks")["output"]
    assert output["error_type"] == "device"
    assert "GPU" in output["errors"][-1]
    assert [image["filename"] for image in output["images"]] == ["ComfyUI_00001_.png"]
    assert process.end(25) != 0
    assert [len(api.results(job_id)) for job_id in ("good", "breaks")] == [1, 1]
    assert api.lost() <= {"waits"}, "another worker gets what was not begun"
