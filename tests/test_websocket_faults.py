"""The compatibility mode where servers and networks fail: each job ends, and the next one is right."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import pytest
from comfy_server import ComfyServer, free_port
from cutting_proxy import CuttingProxy, binary_frame, refusal, text_frame
from pictures import png
from websocket_jobs import Running, ask, client_of, stop, wait_for

from worker import Settings
from worker.errors import BackendFailed, JobInterrupted, StartError
from worker.events import Message, NodeProgress, Preview
from worker.remote.socket import Binary

# The server


def test_a_server_that_starts_late_restarts_and_dies(settings: Settings, base_dir: Path) -> None:
    """Two starts of a real server: it takes seconds each time."""
    with contextlib.closing(ComfyServer(base_dir, ["--disable-api-nodes"])) as server:
        server.start()
        with client_of(settings, server.host, websocket_reconnect_attempts=300) as worker:
            assert worker.run(graphs.solid(0x100001)).ok, "it was waited for"
            job = Running(worker, graphs.through("TestSleeps", steps=2000))
            wait_for(lambda: job.has(NodeProgress))
            server.kill()
            server.start()
            with pytest.raises(BackendFailed, match="has lost the workflow"):
                job.wait(90)
            assert worker.run(graphs.solid(0x100003)).ok
        with client_of(settings, server.host) as worker:
            job = Running(worker, graphs.through("TestSleeps", steps=2000))
            wait_for(lambda: job.has(NodeProgress))
            server.kill()
            with pytest.raises(BackendFailed, match="connection to ComfyUI was lost"):
                job.wait()


def test_a_server_that_was_away_between_two_jobs_is_waited_for(settings: Settings, proxy: CuttingProxy) -> None:
    with client_of(settings, proxy.host) as worker:
        assert worker.run(graphs.solid(0x100001)).ok
        proxy.refusing = True
        proxy.cut()
        job = Running(worker, graphs.solid(0x100002))
        time.sleep(0.5)
        assert not job.events
        proxy.refusing = False
        assert job.wait().ok


def test_no_server(settings: Settings, command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    host = f"127.0.0.1:{free_port()}"
    limited = {"comfy_api_available_max_retries": 3, "comfy_api_available_interval_ms": 10}
    with pytest.raises(StartError, match=rf"ComfyUI server \({host}\) not reachable after multiple retries"):
        client_of(settings, host, **limited).__enter__()
    environment = {name.upper(): str(value) for name, value in limited.items()}
    ended = command("check", COMFY_BACKEND="websocket", COMFY_HOST=host, **environment)
    assert ended.returncode == 3
    assert ended.stderr.strip().splitlines()[-1].startswith(f"worker: ComfyUI server ({host}) not reachable")


def test_a_job_finds_no_server(settings: Settings, proxy: CuttingProxy) -> None:
    with client_of(settings, proxy.host, comfy_api_available_max_retries=3) as worker:
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(BackendFailed, match="not reachable after multiple retries"):
            worker.run(graphs.solid())
        proxy.refusing = False
        assert worker.run(graphs.solid()).ok


@pytest.mark.parametrize("status", [500, 404])
def test_a_refusal_of_the_server_is_an_error(settings: Settings, proxy: CuttingProxy, status: int) -> None:
    with client_of(settings, proxy.host) as worker:
        proxy.answer = lambda line: refusal(status, "it broke") if line.startswith("POST /prompt") else None
        with pytest.raises(BackendFailed, match=f"ComfyUI answered {status} to POST /prompt: it broke"):
            worker.run(graphs.solid())
        proxy.answer = lambda _: None
        assert worker.run(graphs.solid()).ok


def test_what_the_history_does_not_tell_was_heard(settings: Settings, proxy: CuttingProxy) -> None:
    with client_of(settings, proxy.host) as worker:
        proxy.answer = lambda line: refusal(500) if "/history" in line else None
        graph = graphs.solid(0x100004) | {"7": graphs.node("TestShowsText", text="heard")}
        result = worker.run(graph)
        assert result.images[0].size == (64, 64)
        assert result.text == ["heard"]
        (error,) = worker.run(graphs.through("TestRaises")).errors
        assert error.startswith("Workflow execution error: Node Type: TestRaises, Node ID: 3")


def test_a_server_that_is_busy_twice_is_asked_again(settings: Settings, proxy: CuttingProxy) -> None:
    busy = {"/view": 2, "/upload": 2}

    def answer(line: str) -> bytes | None:
        for path, left in busy.items():
            if path in line and left:
                busy[path] = left - 1
                return refusal(503)
        return None

    with client_of(settings, proxy.host) as worker:
        proxy.answer = answer
        assert worker.run(graphs.load("in.png"), images={"in.png": png()}).ok
    assert set(busy.values()) == {0}


def test_files_that_cannot_be_fetched_are_errors(settings: Settings, proxy: CuttingProxy) -> None:
    with client_of(settings, proxy.host) as worker:
        proxy.answer = lambda line: refusal(500) if "/view" in line else None
        result = worker.run(graphs.solid(0x100005))
        assert not result.artifacts
        assert "could not be fetched from ComfyUI (ComfyUI answered 500 to GET /view)" in result.errors[0]
        proxy.answer = lambda line: refusal(404) if "/view" in line else None
        assert "is not there" in worker.run(graphs.solid(0x100006)).errors[0]


def test_a_lost_answer_to_a_prompt_runs_it_once(
    settings: Settings, proxy: CuttingProxy, comfy_server: ComfyServer
) -> None:
    before = comfy_server.log.read_text().count("got prompt")
    with client_of(settings, proxy.host) as worker:
        cut: list[str] = []

        def answer(line: str) -> bytes | None:
            if line.startswith("POST /prompt") and not cut:
                cut.append(line)
                threading.Timer(0.3, proxy.cut).start()
                time.sleep(0.4)
            return None

        proxy.answer = answer
        assert worker.run(graphs.through("TestCountsRuns", color=0x100007)).ok
    assert cut
    assert comfy_server.log.read_text().count("got prompt") == before + 1


# The connection


def test_a_websocket_that_is_cut_every_few_frames(settings: Settings, proxy: CuttingProxy) -> None:
    proxy.cut_after = 4
    with client_of(settings, proxy.host) as worker:
        result = worker.run(graphs.through("TestSleeps", color=0x102030, steps=60))
        assert result.images[0].getpixel((0, 0)) == (0x10, 0x20, 0x30)
        error = worker.run(graphs.through("TestRaises")).errors[0]
        assert error.startswith("Workflow execution error: Node Type: TestRaises, Node ID: 3")
    assert proxy.websockets > 3


def test_an_end_during_the_outage_is_seen(settings: Settings, proxy: CuttingProxy) -> None:
    with client_of(settings, proxy.host, websocket_reconnect_attempts=20) as worker:
        job = Running(worker, graphs.through("TestSleeps", steps=30))
        wait_for(lambda: job.has(NodeProgress))
        proxy.refusing = True
        proxy.cut()
        time.sleep(1.5)
        proxy.refusing = False
        assert job.wait().ok


def test_an_end_that_the_websocket_never_tells_is_seen(settings: Settings, proxy: CuttingProxy) -> None:
    with client_of(settings, proxy.host) as worker:
        proxy.swallow = True
        start = time.monotonic()
        assert worker.run(graphs.solid(0x100008)).ok
        assert time.monotonic() - start < 10


def test_frames_that_are_none_of_comfyuis(settings: Settings, proxy: CuttingProxy) -> None:
    proxy.forge = b"".join(
        [
            text_frame(b"no json"),
            text_frame(b"[]"),
            text_frame(b'{"type": "executing"}'),
            text_frame(b'{"type": "execution_error", "data": "text"}'),
            text_frame(b'{"type": "executing", "data": {"node": null, "prompt_id": "another\'s"}}'),
            text_frame(b'{"type": "executing", "data": {"node": null}}'),
            binary_frame(b""),
            binary_frame(b"\0\0\0\1\0\0\0\1no picture"),
            binary_frame(b"\0\0\0\4\xff\xff\xff\xff"),
            binary_frame(b"\0\0\0\3text"),
        ]
    )
    proxy.cut_after = 3  # So that they come while a workflow runs.
    with client_of(settings, proxy.host) as worker:
        job = Running(worker, graphs.through("TestSleeps", color=0x302010, steps=20))
        assert job.wait().images[0].getpixel((0, 0)) == (0x30, 0x20, 0x10)
    assert Message("TEXT", b"text") in job.events


def test_a_lost_connection_that_does_not_come_back(
    settings: Settings, proxy: CuttingProxy, comfy_server: ComfyServer
) -> None:
    with client_of(settings, proxy.host) as worker:
        job = Running(worker, graphs.through("TestSleeps", steps=500))
        wait_for(lambda: job.has(NodeProgress))
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(BackendFailed, match="connection to ComfyUI was lost"):
            job.wait()
        assert ask(comfy_server.host, "/queue")["queue_running"]
        proxy.refusing = False
        # What nobody waits for any more is stopped, and does not hold up the next job.
        assert worker.run(graphs.solid(0x100009)).ok
        wait_for(lambda: not ask(comfy_server.host, "/queue")["queue_running"], 3)


def test_a_hiccup_of_the_history_is_outlived(settings: Settings, proxy: CuttingProxy) -> None:
    with client_of(settings, proxy.host, websocket_reconnect_delay_s=0.5) as worker:
        proxy.swallow = True
        until = time.monotonic() + 2.5
        proxy.answer = lambda line: refusal(503) if "/history" in line and time.monotonic() < until else None
        assert worker.run(graphs.through("TestSleeps", color=0x10000E, steps=3)).ok
        assert time.monotonic() > until


def test_a_server_that_wants_to_be_asked_in_an_hour_is_asked_now(settings: Settings, proxy: CuttingProxy) -> None:
    left = [503, 503]
    with client_of(settings, proxy.host) as worker:
        proxy.answer = lambda line: (
            refusal(left.pop(), headers="Retry-After: 3600\r\n") if "/view" in line and left else None
        )
        assert worker.run(graphs.solid(0x10000F)).ok
    assert not left


@pytest.mark.parametrize("path", ["POST /prompt", "POST /upload", "GET /view", "GET /history"])
def test_a_stop_does_not_wait_for_a_silent_server(settings: Settings, proxy: CuttingProxy, path: str) -> None:
    silent = threading.Event()

    def answer(line: str) -> bytes | None:
        if line.startswith(path) and not over.is_set():
            silent.set()
            over.wait(30)
        return None

    over = threading.Event()
    with client_of(settings, proxy.host) as worker:
        proxy.answer = answer
        graph = graphs.load("in.png") if path != "GET /history" else graphs.through("TestRaises")
        job = Running(worker, graph, images={"in.png": png()})
        assert silent.wait(10)
        stop(worker)
        if path == "GET /history":
            over.set()
        with pytest.raises(JobInterrupted) if path != "GET /history" else contextlib.nullcontext():
            job.wait(3)
        over.set()
        assert worker.run(graphs.solid(0x100010)).images[0].getpixel((0, 0)) == (0x10, 0, 0x10)


@pytest.mark.parametrize(
    ("history", "errors"),
    [
        ({"outputs": [1], "meta": None, "status": "x"}, []),
        ({"outputs": {"2": None}, "meta": [], "status": {"messages": [1, [], ["execution_success"], [1, 2]]}}, []),
        ({"outputs": {"2": {"images": 5}}, "status": {"messages": [["execution_error", None]]}}, []),
        (
            {"outputs": {"2": {"images": [{"filename": ["x"], "subfolder": 5}, {"filename": "", "type": []}]}}},
            ["['x']", "output"],
        ),
        (None, None),  # As where the server has lost it.
        pytest.param([], None, marks=pytest.mark.full),
    ],
)
def test_a_history_of_another_shape(
    settings: Settings, proxy: CuttingProxy, history: Any, errors: list[str] | None
) -> None:
    with client_of(settings, proxy.host) as worker:
        proxy.answer = lambda line: (
            refusal(200, json.dumps({line.split("/")[2].split()[0]: history}))
            if line.startswith("GET /history/")
            else None
        )
        proxy.swallow = True  # So that it is asked.
        if errors is None:
            with pytest.raises(BackendFailed, match="has lost the workflow"):
                worker.run(graphs.solid(0x100011))
            return
        result = worker.run(graphs.solid(0x100011))
        assert (result.status, result.artifacts) == ("success", ())
        assert result.errors == tuple(f"Node 2 named an output that is not there: {name}" for name in errors)


@pytest.mark.parametrize("queue", [5, "abc", [[]], [1], [[1, 2, 3, 4]], [[None, "x", {}, {}, []]]])
def test_a_queue_of_another_shape(settings: Settings, proxy: CuttingProxy, queue: Any) -> None:
    with client_of(settings, proxy.host) as worker:
        body = json.dumps({"queue_running": queue, "queue_pending": queue})
        proxy.answer = lambda line: refusal(200, body) if line.startswith("GET /queue") else None
        assert worker.run(graphs.through("TestRaises")).errors  # Then the queue is looked through.
        assert worker.run(graphs.solid(0x100012)).ok


@pytest.mark.parametrize("answer", ["{}", "[]", "null", '{"error": "text", "node_errors": [1]}', "<html>"])
def test_a_rejection_of_another_shape_blames_nobody(settings: Settings, proxy: CuttingProxy, answer: str) -> None:
    with client_of(settings, proxy.host) as worker:
        proxy.answer = lambda line: refusal(400, answer) if line.startswith("POST /prompt") else None
        with pytest.raises(BackendFailed, match="ComfyUI answered 400 to POST /prompt"):
            worker.run(graphs.solid())


def test_previews_of_another_prompt_are_not_passed_on(settings: Settings, proxy: CuttingProxy) -> None:
    """As they may come after a connection was lost: they are those of the job before, of another caller."""

    def frame(metadata: bytes) -> bytes:
        return binary_frame(b"\0\0\0\4" + len(metadata).to_bytes(4, "big") + metadata + png("red", (1, 1)))

    others, own = b'{"node_id": "others", "prompt_id": "x"}', b'{"node_id": "7"}'
    proxy.forge = frame(others) + frame(own)
    proxy.cut_after = 3  # So that they come while a workflow runs.
    with client_of(settings, proxy.host) as worker:
        job = Running(worker, graphs.through("TestSleeps", color=0x302011, steps=20))
        assert job.wait().ok
    assert {event.node_id for event in job.events if isinstance(event, Preview)} == {"7"}
    assert [frame for frame in (b"", b"\0", b"\0\0\0\2[]") if Binary(4, frame).prompt_id() is not None] == []


def test_a_preview_is_not_worth_a_job() -> None:
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0"
    assert isinstance(Binary(1, b"\0\0\0\1" + bomb).event(), Message)
