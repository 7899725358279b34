"""What becomes of a job, and of its worker, when the device breaks: with a stand-in, and on a real GPU."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import graphs
import pytest
from runpod_worker import Start, WorkerProcess

ANSWERED_S = 15.0


def breaking(how: str, **more: Any) -> graphs.Graph:
    """A picture is saved; then a node breaks the device, with another picture behind it."""
    graph = graphs.solid()
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="ComfyUI_00001_.png")
    graph["4"] = graphs.node("TestOnDevice", image=["3", 0])
    graph["5"] = graphs.node("TestBreaksDevice", image=["3", 0], resident=["4", 0], how=how, **more)
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


HOW = ["raises", "blocks", "keeps the lock", "blocks while freed", "aborts", "dies"]


@pytest.mark.parametrize("how", HOW)
def test_a_broken_device_ends_in_an_answer(start: Start, how: str) -> None:
    with start(TEST_CUDA="1", WORKER_CONCURRENCY="2", REPORT_METRICS="full") as process:
        api = process.api
        api.give("good", {"workflow": graphs.solid(0x00FF00)})
        assert "images" in answer(process, "good")["output"]
        api.give("breaks", {"workflow": breaking(how)})
        api.wait(lambda: "breaks" in api.taken)
        taken = time.monotonic()
        api.give("waits", {"workflow": graphs.solid(0x0000FF)})
        output = answer(process, "breaks")["output"]
        print(f"{how}: answered after {time.monotonic() - taken:.1f} s: {output}"[:1000])
        assert output["error_type"] == "device"
        assert "GPU" in output["errors"][-1]
        assert [image["filename"] for image in output["images"]] == ["ComfyUI_00001_.png"]
        assert process.end(20) != 0
        print(f"ended after {time.monotonic() - taken:.1f} s with {process.process.returncode}")
        assert len(api.results("breaks")) == 1
        assert len(api.results("good")) == 1
        assert api.lost() <= {"waits"}, "another worker gets what was not begun"
        assert api.lost() == {"waits"} or "images" in api.results("waits")[0].body["output"]
