"""RunPod's loop: the worker as a process of its own, against a stand-in for RunPod's job API."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import psutil
import pytest
from runpod_api import JobApi
from runpod_worker import Start, WorkerProcess, sleeping


@pytest.fixture(scope="module")
def worker_process(start: Start) -> Iterator[WorkerProcess]:
    """One worker for the tests that leave it as it was."""
    with start(COMFY_ORG_API_KEY="comfy-secret-key", MAX_RSS_MB="100000") as process:
        yield process


@pytest.fixture
def api(worker_process: WorkerProcess) -> Iterator[JobApi]:
    """The stand-in that ``worker_process`` works for."""
    yield worker_process.api
    assert worker_process.process.poll() is None, worker_process.log()


def test_a_job_is_taken_and_answered(api: JobApi) -> None:
    api.give("simple", {"workflow": graphs.solid()})
    body = api.result("simple")
    assert set(body) == {"output"}
    assert [i["filename"] for i in body["output"]["images"]] == ["ComfyUI_00001_.png"]


def test_an_error_stands_beside_its_details(api: JobApi) -> None:
    api.give("failing", {"workflow": graphs.through("TestRaises")})
    body = api.result("failing")
    assert body["error"] == "Job processing failed"
    assert body["output"]["error_type"] == "workflow_execution"
    assert "TestRaises" in body["output"]["details"][0]
    api.give("refused", {})
    assert api.result("refused")["error"] == "Missing 'workflow' parameter"


def test_progress_comes_in_order_and_before_the_result(api: JobApi) -> None:
    api.give("long", sleeping(3))
    result_at = api.wait(lambda: api.results("long"))[0].at
    reports = api.progress("long")
    assert 2 <= len(reports) <= 4, "one a second"
    assert all(report.at < result_at for report in reports)
    percents = [report.body["output"]["percent"] for report in reports]
    assert percents == sorted(percents)
    assert len(set(percents)) > 1
    last = reports[-1].body["output"]
    counts = {"stage", "message", "percent", "completed_nodes", "total_nodes", "seconds"}
    assert set(last) == counts | {"node_id", "step", "steps"}, "nobody asked for previews, and the graph is new"
    assert (last["stage"], last["total_nodes"]) == ("running", 3)
    assert last["message"].startswith("TestSleeps (3): step ")


def test_a_slow_progress_report_does_not_come_after_the_result(api: JobApi) -> None:
    api.slow_progress_s = 0.8
    try:
        api.give("slow-report", sleeping(0.9))
        api.result("slow-report")
    finally:
        api.slow_progress_s = 0
    kinds = ["status" in post.body for post in api.posts if post.job_id == "slow-report"]
    assert kinds == [True, False]


def test_heartbeats_name_the_job_that_runs(api: JobApi) -> None:
    api.give("beating", sleeping(2.5))
    api.result("beating")
    assert ["beating"] in [ping.get("job_id") for ping in api.pings]


def test_a_stop_interrupts_and_the_next_job_has_the_thread(api: JobApi) -> None:
    api.give("stopped", sleeping(60))
    api.wait(lambda: api.progress("stopped"))
    stopped_at = time.monotonic()
    api.stop("stopped")
    api.give("after-stop", {"workflow": graphs.solid(5)})
    assert "error" not in api.result("after-stop", 10)
    assert api.results("after-stop")[0].at - stopped_at < 5
    assert not api.results("stopped"), "the platform has answered its caller already"


@pytest.mark.parametrize("answers", [[500, 500], [0, 0], [429], [500, 0, 503]])
def test_a_result_is_posted_until_it_is_taken(api: JobApi, answers: list[int]) -> None:
    job_id = "retried-" + "-".join(map(str, answers))
    api.answers[:] = answers
    api.give(job_id, {"workflow": graphs.solid(7)})
    assert "images" in api.result(job_id)["output"]
    assert [p.status for p in api.posts if p.job_id == job_id] == [*answers, 200]


def test_a_refused_result_becomes_an_error(api: JobApi) -> None:
    api.answers[:] = [400]
    api.give("refused-result", {"workflow": graphs.solid(8)})
    body = api.result("refused-result")
    assert body["error"].startswith("RunPod refused the answer of 0.00 MB with HTTP 400")
    assert body["output"] == {"error_type": "answer_refused"}


def test_a_job_that_the_platform_forgot_is_no_trouble(api: JobApi) -> None:
    api.answers[:] = [404]
    api.give("forgotten", {"workflow": graphs.solid(9)})
    api.wait(lambda: [p for p in api.posts if p.job_id == "forgotten"])
    api.give("after-forgotten", {"workflow": graphs.solid(9)})
    assert "images" in api.result("after-forgotten")["output"]
    assert len([p for p in api.posts if p.job_id == "forgotten"]) == 1


def test_an_answer_that_is_too_large(api: JobApi) -> None:
    noise = {"workflow": graphs.solid()}
    noise["workflow"]["1"] = graphs.node("TestMakesNoise", width=2048, height=2048)
    api.give("sync-large", noise)
    assert len(api.result("sync-large")["output"]["images"][0]["data"]) > 15_000_000
    api.give("large", noise)
    body = api.result("large")
    assert body["error"].startswith("The answer has 16.")
    assert "10 MB" in body["error"]
    assert "BUCKET_" in body["error"]
    assert body["output"] == {"error_type": "answer_too_large"}


def test_what_is_no_text_arrives_as_text(api: JobApi) -> None:
    graph = {"\ud800": graphs.node("TestShowsText", text="lone \ud801")}
    api.give("surrogate", {"workflow": graph})
    (text,) = api.result("surrogate")["output"]["text"]
    assert text == {"node_id": "\\ud800", "text": "lone \\ud801"}


def test_log_lines_are_json_with_the_job_and_no_secret(worker_process: WorkerProcess, api: JobApi) -> None:
    data = "QUJD" * 100
    job = {"workflow": graphs.through("TestLogs", text=data), "comfy_org_api_key": "callers-secret-key"}
    api.give("logged", job)
    api.result("logged")
    lines = [line for line in worker_process.lines() if line.get("requestId") == "logged"]
    assert [line["message"] for line in lines if line["logger"] == "worker"] == [lines[-1]["message"]], "one line a job"
    assert lines[-1]["message"].startswith("Job logged: completed in ")
    assert lines[-1]["level"] == "INFO"
    assert lines[-1]["outcome"] == "completed"
    assert set(lines[-1]["seconds"]) == {"total", "stage", "run", "collect", "deliver"}
    said = [line["message"] for line in lines if "said" in line["message"]]
    assert said == ["TestLogs said <400 characters of base64> with key ********"], "and nothing twice"
    for secret in ("callers-secret-key", "comfy-secret-key", "platform-secret-key", data):
        assert secret not in worker_process.log()


def test_the_job_api_may_be_down_for_a_while(worker_process: WorkerProcess, api: JobApi) -> None:
    """A result that is due while nothing answers is delivered afterwards, and nobody fills the log meanwhile."""
    api.give("through-the-night", sleeping(1))
    api.wait(lambda: "through-the-night" in api.taken)
    lines = len(worker_process.lines())
    api.down = True
    time.sleep(3)
    api.down = False
    assert "images" in api.result("through-the-night", 40)["output"]
    api.give("next-morning", {"workflow": graphs.solid(11)})
    assert "images" in api.result("next-morning", 40)["output"]
    assert len(worker_process.lines()) - lines < 20


@pytest.mark.full
def test_the_job_api_may_be_down_for_a_minute(worker_process: WorkerProcess, api: JobApi) -> None:
    api.give("a-minute", sleeping(1))
    api.wait(lambda: "a-minute" in api.taken)
    lines = len(worker_process.lines())
    api.down = True
    time.sleep(60)
    api.down = False
    assert "images" in api.result("a-minute", 40)["output"]
    assert len(worker_process.lines()) - lines < 30


def test_what_is_no_job_is_left_out(api: JobApi) -> None:
    odd: Any
    for odd in (None, [1, None, {"input": {}}, {"id": 5, "input": {}}], "text", {"id": "", "input": 1}):
        api.odd_answers.append(odd)
        api.give("after-garbage", {"workflow": graphs.solid(12)})
        assert "images" in api.result("after-garbage")["output"]
        api.posts.clear()


def test_empty_answers_that_come_at_once_are_no_reason_to_hurry(worker_process: WorkerProcess, api: JobApi) -> None:
    api.hold_s = 0.0
    try:
        time.sleep(0.5)
        polls, lines = api.polls, len(worker_process.lines())
        time.sleep(2)
        assert api.polls - polls < 6
        assert len(worker_process.lines()) - lines < 6
    finally:
        api.hold_s = 20.0


def test_a_job_that_comes_twice_runs_once(start_either: Start) -> None:
    with start_either(WORKER_CONCURRENCY="2") as process:
        for _ in range(2):
            process.api.give("twin", sleeping(1))
        process.api.result("twin")
        time.sleep(1.5)
        assert len(process.api.results("twin")) == 1


def test_sigterm_while_a_job_is_being_handed_out(start_either: Start) -> None:
    with start_either() as process:
        process.api.slow_jobs_s = 1.0
        process.api.give("on-its-way", {"workflow": graphs.solid(), "filler": "x" * 1_000_000})
        process.api.wait(lambda: process.api.taken)
        time.sleep(0.3)
        process.process.terminate()
        assert process.end() == 0
        assert not process.api.lost()


def test_sigterm_just_before_a_job_arrives(start: Start) -> None:
    with start() as process:
        process.api.slow_answers_s = 0.1
        process.api.give("just-sent", {"workflow": graphs.solid()})
        process.api.wait(lambda: process.api.taken)
        process.process.terminate()
        assert process.end() == 0
        assert not process.api.lost()


def test_a_second_stop_changes_nothing(api: JobApi) -> None:
    api.give("twice-stopped", sleeping(60))
    api.wait(lambda: api.progress("twice-stopped"))
    api.stop("twice-stopped")
    api.stop("twice-stopped")
    api.stop("never-heard-of")
    api.give("after-two-stops", {"workflow": graphs.solid(13)})
    assert "error" not in api.result("after-two-stops", 10)


def test_a_stopped_job_refreshes_as_well(start_either: Start) -> None:
    with start_either(REFRESH_WORKER="true") as process:
        process.api.give("unclean", sleeping(60))
        process.api.wait(lambda: process.api.progress("unclean"))
        process.api.stop("unclean")
        assert process.end() == 0


@pytest.mark.full  # A job that does not stop is in the tests of limits as well; here SIGTERM comes on top.
def test_a_node_that_does_not_stop_does_not_keep_the_process(start: Start) -> None:
    with start() as process:
        process.api.give("stuck", {"workflow": graphs.through("TestIgnoresInterrupts", seconds=120)})
        process.api.wait(lambda: process.api.progress("stuck"))
        process.api.stop("stuck")
        time.sleep(0.5)
        process.process.terminate()
        assert process.end(40) == 1
        assert "does not stop" in process.log()


def test_sigterm_ends_an_idle_worker_at_once(start_either: Start) -> None:
    with start_either() as process:
        (heartbeat,) = process.children()
        sent = time.monotonic()
        process.process.terminate()
        assert process.end() == 0
        assert time.monotonic() - sent < 2
        process.api.give("too-late", {"workflow": graphs.solid()})
        time.sleep(0.5)
        assert not process.api.taken, "nobody asks any more"
        assert not heartbeat.is_running()
        assert process.lines()[-1]["message"] == "The worker ends"


def test_sigterm_lets_a_job_finish_and_takes_no_other(start: Start) -> None:
    with start(WORKER_CONCURRENCY="2") as process:
        process.api.give("last", sleeping(2))
        process.api.wait(lambda: process.api.progress("last"))
        process.process.terminate()
        time.sleep(0.6)  # A request that is open may still bring a job at first.
        process.api.give("for-another-worker", {"workflow": graphs.solid()})
        assert process.end() == 0
        ended = time.monotonic()
        (result,) = process.api.results("last")
        assert "images" in result.body["output"]
        assert ended - result.at < 2
        assert not process.api.lost()
        assert set(process.api.taken) == {"last"}


def test_sigterm_while_a_result_is_posted(start: Start) -> None:
    with start() as process:
        process.api.answers[:] = [500, 0]
        process.api.give("posted", {"workflow": graphs.solid()})
        process.api.wait(lambda: process.api.posts)
        process.process.terminate()
        assert process.end() == 0
        assert [post.status for post in process.api.posts] == [500, 0, 200]


def test_a_worker_that_ends_still_hears_of_stops(start: Start) -> None:
    with start() as process:
        process.api.give("too-long", sleeping(60))
        process.api.wait(lambda: process.api.progress("too-long"))
        process.process.terminate()
        for job_id in ("never-heard-of", "too-long"):
            process.api.stop(job_id)
            process.api.wait(lambda: not process.api.stops)
        assert process.end() == 0
        assert not process.api.results("too-long")


def test_refresh_stops_the_pod_with_the_first_result(start_either: Start) -> None:
    with start_either(REFRESH_WORKER="true", WORKER_CONCURRENCY="2") as process:
        process.api.give("first", {"workflow": graphs.solid()})
        process.api.give("second", {"workflow": graphs.solid()})
        body = process.api.result("first")
        assert body["stopPod"] is True
        assert "images" in body["output"]
        assert process.end() == 0
        assert time.monotonic() - process.api.results("first")[0].at < 2
        assert set(process.api.taken) == {"first"}


@pytest.mark.full
def test_the_models_of_the_last_job_are_looked_for_before_the_end(start: Start) -> None:
    with start(REFRESH_WORKER="true", NETWORK_VOLUME_DEBUG="true") as process:
        process.api.give("missing", {"workflow": graphs.text_to_image(checkpoint="none.safetensors")})
        assert "is not in the list" in process.api.result("missing")["error"]
        assert process.process.wait(30) == 0
        found = [line for line in process.lines() if "'none.safetensors' is not there" in line["message"]]
    assert [line["requestId"] for line in found] == ["missing"]


def test_a_failed_job_refreshes_as_well(start_either: Start) -> None:
    with start_either(REFRESH_WORKER="true") as process:
        process.api.give("bad", {"workflow": graphs.through("TestRaises")})
        body = process.api.result("bad")
        assert body["stopPod"] is True
        assert body["error"] == "Job processing failed"
        assert process.end() == 0


def test_two_at_once_leave_the_thread_no_pause(start_either: Start) -> None:
    with start_either(WORKER_CONCURRENCY="2") as process:
        for index in range(4):
            process.api.give(f"pair-{index}", sleeping(0.5))
        taken = process.api.wait(lambda: len(process.api.taken) >= 2 and dict(process.api.taken))
        assert not process.api.results("pair-0"), "the second is held while the first runs"
        assert len(taken) == 2
        process.api.result("pair-3")
        ends = [process.api.results(f"pair-{index}")[0].at for index in range(4)]
        pauses = [later - sooner - 0.5 for sooner, later in itertools.pairwise(ends)]
        assert all(pause < 0.3 for pause in pauses), f"the SDK alone leaves a second: {pauses}"


def test_a_crash_takes_the_heartbeat_along(start_either: Start) -> None:
    with start_either() as process:
        (heartbeat,) = process.children()
        process.process.kill()
        process.end()
        _, alive = psutil.wait_procs([heartbeat], timeout=3)
        assert not alive


def test_a_process_that_is_small_enough_stays(worker_process: WorkerProcess, api: JobApi) -> None:
    api.give("small", {"workflow": graphs.solid()})
    assert "images" in api.result("small")["output"]
    assert "MAX_RSS_MB" not in worker_process.log()


def test_the_heartbeat_is_a_small_process(worker_process: WorkerProcess) -> None:
    """It is forked before ComfyUI and torch are loaded: it holds none of their memory, threads or devices."""
    (heartbeat,) = worker_process.children()
    assert heartbeat.num_threads() == 2, "one sends heartbeats, the other looks after the worker"
    assert not [m for m in heartbeat.memory_maps() if "libtorch" in m.path]


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace of its own needs root")
def test_as_process_one_it_heeds_sigterm_and_a_crash_ends_all(start_either: Start) -> None:
    """``exec`` in an entry point makes the worker process 1 of its container."""
    unshare = ("unshare", "--fork", "--pid", "--mount-proc", "--kill-child")
    for number in (signal.SIGTERM, signal.SIGKILL):
        with start_either(*unshare) as process:
            (first,) = psutil.Process(process.process.pid).children()
            heartbeats = first.children()
            assert len(heartbeats) == 1
            first.send_signal(number)
            assert (process.end() == 0) == (number == signal.SIGTERM)
            _, alive = psutil.wait_procs(heartbeats, timeout=3)
            assert not alive


def test_sigterm_while_starting(start: Start) -> None:
    with start(wait=False) as process:
        process.api.wait(lambda: process.api.pings, 20)
        process.process.terminate()
        assert process.end(10) == 128 + signal.SIGTERM
        assert not process.api.polls


def test_a_worker_that_cannot_start_takes_no_job(start: Start, tmp_path: Path) -> None:
    with start(wait=False, COMFYUI_PATH=str(tmp_path)) as process:
        process.api.give("untouched", {"workflow": graphs.solid()})
        assert process.end() == 3
        assert "main.py" in process.log()
        assert not process.api.taken
