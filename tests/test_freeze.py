"""What becomes of a job, and of its worker, when a node lets nothing else in the process run."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import graphs
import psutil
import pytest
import requests
from local_server import local_server, until_it_listens
from runpod_worker import Start, WorkerProcess

from worker.runpod.board import Board

AS_PROCESS_ONE = ("unshare", "--fork", "--pid", "--mount-proc", "--kill-child")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace of its own needs root")
either_process = pytest.mark.parametrize(
    "prefix", [(), pytest.param(AS_PROCESS_ONE, marks=[needs_root, pytest.mark.full])]
)


def after_saving(deed: str, count: int) -> graphs.Graph:
    """A picture and a file are saved; then a node does ``deed``, with another picture behind it."""
    graph = graphs.solid()
    graph["0"] = graphs.node("TestSavesFile", key="files", subfolder="d", filename="in_full.txt", content="it")
    graph["0"]["inputs"]["in_full"] = True
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="ComfyUI_00001_.png")
    graph["4"] = graphs.node("TestMisbehaves", image=["3", 0], deed=deed, count=count)
    graph["5"] = graphs.node("SaveImage", images=["4", 0], filename_prefix="late")
    return graph


def worker_itself(process: WorkerProcess, prefix: tuple[str, ...]) -> psutil.Process:
    """The worker's own process, which may be the child of ``unshare``."""
    outer = psutil.Process(process.process.pid)
    return outer.children()[0] if prefix else outer


def assert_frozen(process: WorkerProcess, job_id: str, timeout: float) -> dict[str, Any]:
    """The one answer to a job whose node 4 did not let go of the lock after a picture was saved."""
    output: dict[str, Any] = process.api.result(job_id, timeout)["output"]
    assert output["error_type"] == "frozen"
    assert [image["filename"] for image in output["images"]] == ["ComfyUI_00001_.png"]
    assert [(file["filename"], file["subfolder"]) for file in output["files"]] == [("in_full.txt", "d")]
    assert output["errors"][0].startswith("Node 4 (TestMisbehaves) let nothing else in this worker run")
    return output


@either_process
def test_a_node_that_keeps_the_lock_is_answered_and_the_worker_ends(start: Start, prefix: tuple[str, ...]) -> None:
    with start(*prefix, FREEZE_TIMEOUT_S="8") as process:
        worker = worker_itself(process, prefix)
        heartbeats = worker.children()
        process.api.give("frozen", {"workflow": after_saving("spins", 40)})
        process.api.wait(lambda: "frozen" in process.api.taken)
        time.sleep(2)
        worker.send_signal(signal.SIGTERM)  # It is not heard.
        assert_frozen(process, "frozen", 15)
        assert process.end(15) == 1
        _, alive = psutil.wait_procs(heartbeats, timeout=3)
        assert not alive
        assert len(process.api.results("frozen")) == 1
        log = process.log()
        assert "The worker ended itself: its event loop stood still for 8 s (FREEZE_TIMEOUT_S)" in log
        assert "in spins" in log, "the stacks name the line"


@pytest.mark.parametrize(
    ("deed", "count"), [("spins", 40), pytest.param("keeps_interrupts", 300, marks=pytest.mark.full)]
)
def test_a_deadline_ends_a_job_that_nothing_can_stop(start: Start, deed: str, count: int) -> None:
    with start(WORKER_CONCURRENCY="2") as process:
        begun = time.monotonic()
        process.api.give("late", {"workflow": after_saving(deed, count), "timeout_s": 1})
        process.api.give("waits", {"workflow": graphs.solid()})
        assert_frozen(process, "late", 40)
        assert process.end(20) == 1
        assert 20 < time.monotonic() - begun < 40, "its limit, 10 s of grace, and 15 s"
        assert len(process.api.results("late")) == 1
        assert process.api.lost() == {"waits"}, "another worker gets what was not begun"


@pytest.mark.full
def test_a_deadline_ends_a_job_with_a_thousand_busy_threads(start: Start) -> None:
    with start() as process:
        process.api.give("crowd", {"workflow": after_saving("leaves_busy_threads", 1000), "timeout_s": 1})
        assert "errors" in process.api.result("crowd", 60)["output"]
        assert process.end(60) == 1
        assert len(process.api.results("crowd")) == 1


@either_process
def test_a_worker_without_jobs_ends_as_well(start: Start, prefix: tuple[str, ...]) -> None:
    with start(*prefix, FREEZE_TIMEOUT_S="6") as process:
        process.api.give("leaves", {"workflow": graphs.through("TestMisbehaves", deed="keeps_lock_later", count=120)})
        assert "images" in process.api.result("leaves")["output"]
        assert process.end(20) == signal.SIGQUIT
        assert len(process.api.results("leaves")) == 1
        assert "The worker is ended, since it stood still for" in process.log()
        assert "in keeps_lock" in process.log()


@pytest.mark.full
def test_what_ends_in_time_is_not_ended(start: Start) -> None:
    with start(FREEZE_TIMEOUT_S="10") as process:
        api = process.api
        api.give("short", {"workflow": graphs.through("TestMisbehaves", deed="keeps_lock", count=3)})
        assert "images" in api.result("short")["output"], "it let go before anybody answered for it"
        api.give("long", {"workflow": after_saving("keeps_lock", 8)})
        assert_frozen(process, "long", 15)
        api.give("next", {"workflow": graphs.solid(0x00FF00)})
        assert "images" in api.result("next")["output"], "the worker came back before its end, and goes on"
        assert [len(api.results(job_id)) for job_id in ("short", "long", "next")] == [1, 1, 1]
        assert not [post for post in api.progress("long") if post.at > api.results("long")[0].at]

        time.sleep(1)
        family = [psutil.Process(process.process.pid), *process.children()]
        for member in family:
            member.suspend()
        time.sleep(12)  # As a platform may pause the container of a worker that has no job.
        for member in family:
            member.resume()
        api.give("later", {"workflow": graphs.solid(0x0000FF)})
        assert "images" in api.result("later")["output"]


def test_the_local_server_ends_and_says_why(project: Path, base_dir: Path) -> None:
    with local_server(project, base_dir, FREEZE_TIMEOUT_S="5") as (process, url):
        until_it_listens(url)
        job: Any = {"input": {"workflow": graphs.through("TestMisbehaves", deed="spins", count=40)}}
        with pytest.raises(requests.ConnectionError):
            requests.post(f"{url}/runsync", json=job, timeout=90)
        printed, _ = process.communicate(timeout=10)
        assert process.returncode == 1
        assert "The worker ended itself: its event loop stood still for 5 s (FREEZE_TIMEOUT_S)" in printed
        assert "in spins" in printed


@pytest.mark.full
def test_a_log_that_nobody_reads_does_not_keep_the_worker(project: Path, base_dir: Path) -> None:
    with local_server(project, base_dir) as (process, url):
        until_it_listens(url)
        flood = graphs.through("TestMisbehaves", deed="floods_log", count=20_000)
        job: Any = {"input": {"workflow": flood, "timeout_s": 1}}
        with pytest.raises(requests.ConnectionError):
            requests.post(f"{url}/runsync", json=job, timeout=90)
        assert process.wait(10) == 1


def test_one_process_alone_answers_each_job() -> None:
    """Both want to answer at the same time, and the heartbeat process changes its mind half of the time."""
    board, rounds = Board(1), 3000
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        chance = random.Random(2)
        while True:
            for seen in board.seen():
                if not board.claim(seen.number):
                    continue
                if chance.random() < 0.5 and board.mark_answered(seen):
                    os.write(writer, seen.number.to_bytes(4, "little"))
                    while board.seen():  # It keeps its claim, and answers no job twice.
                        pass
                else:
                    board.give_back(seen.number)
    try:
        own: set[int] = set()
        chance = random.Random(1)
        for number in range(1, rounds + 1):
            with board.job(f"job-{number}") as job:
                for _ in range(chance.randrange(2000)):
                    pass
                if asyncio.run(job.claim()):
                    own.add(number)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answered:
        content = answered.read()
    others = [int.from_bytes(content[at : at + 4], "little") for at in range(0, len(content), 4)]
    assert len(others) == len(set(others))
    assert not own & set(others), "answered twice"
    assert own | set(others) == set(range(1, rounds + 1)), "not answered"
    assert own
    assert others
