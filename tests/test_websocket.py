"""The compatibility mode: what a server, a network and other clients can do to a job, and what comes of it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
import requests
import websocket
from comfy_server import ComfyServer, free_port
from cutting_proxy import CuttingProxy, binary_frame, refusal, text_frame
from PIL import Image

from worker import Settings, Worker
from worker.comfy_client.names import job_folder, place, renamed
from worker.comfy_client.socket import Binary
from worker.comfy_client.transfer import fetch_outputs
from worker.errors import BackendFailed, JobInterrupted, SettingsError, StartError, WorkflowRejected
from worker.events import Event, Message, NodeOutput, NodeProgress, NodeStarted, Preview, PromptEnded
from worker.graph_run import RunResult
from worker.outputs import collect
from worker.prompt_outcome import PromptOutcome
from worker.settings import load_settings


@pytest.fixture
def proxy(comfy_server: ComfyServer) -> Iterator[CuttingProxy]:
    """A proxy before the stock server."""
    with CuttingProxy(comfy_server.host) as proxy:
        yield proxy


@contextlib.contextmanager
def client_of(settings: Settings, host: str, **changes: Any) -> Iterator[Worker]:
    """A worker that is a client of the server at ``host``, and loses no time."""
    quick = {"websocket_reconnect_attempts": 3, "websocket_reconnect_delay_s": 0.2}
    update = {"comfy_backend": "websocket", "comfy_host": host, **quick, **changes}
    with Worker(settings.model_copy(update=update)) as worker:
        yield worker


def ask(host: str, path: str, body: Any = None) -> Any:
    """An answer of the server, as another client gets it."""
    response = requests.request("GET" if body is None else "POST", f"http://{host}{path}", json=body, timeout=10)
    response.raise_for_status()
    return response.json() if response.content else None


def queue_for_another(host: str, graph: dict[str, Any]) -> str:
    """Queue a graph as another client does; its prompt id."""
    answer = ask(host, "/prompt", {"prompt": graph, "client_id": "another", "prompt_id": str(uuid.uuid4())})
    return str(answer["prompt_id"])


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """What ``condition`` gives, once that is something."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def stop(worker: Worker) -> None:
    """Interrupt the job that runs."""
    assert worker._backend is not None
    worker._backend.interrupt(worker._backend._turns.current.run)  # type: ignore[attr-defined]


class Running:
    """A job on a thread of its own."""

    def __init__(self, worker: Worker, graph: dict[str, Any], images: Any = None) -> None:
        self.events: list[Event] = []
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(worker, graph, images), daemon=True)
        self._thread.start()

    def _run(self, worker: Worker, graph: dict[str, Any], images: Any) -> None:
        try:
            self.result = worker.run(graph, images, on_event=self.events.append)
        except BaseException as error:  # noqa: BLE001 - looked at by the test.
            self.error = error

    def has(self, kind: type[Event]) -> bool:
        """Whether an event of this kind was told."""
        return any(isinstance(event, kind) for event in self.events)

    def wait(self, seconds: float = 30) -> Any:
        """The result; raises what the job raised."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it hangs"
        if self.error is not None:
            raise self.error
        return self.result


# The server


def test_a_server_that_is_not_up_yet_is_waited_for(settings: Settings, base_dir: Path) -> None:
    with ComfyServer(base_dir) as server:
        server.kill()
        server.start()
        with client_of(settings, server.host) as worker:
            assert worker.run(graphs.solid(0x100001)).ok
            # Dies while nothing runs, and comes back: the next job waits for it.
            server.kill()
            job = Running(worker, graphs.solid(0x100002))
            time.sleep(0.5)
            server.start()
            assert job.wait(90).ok
            # Dies in the middle, for good.
            job = Running(worker, graphs.through("TestSleeps", steps=2000))
            wait_for(lambda: job.has(NodeProgress))
            server.kill()
            with pytest.raises(BackendFailed, match="connection to ComfyUI was lost"):
                job.wait()


def test_a_server_that_restarts_in_the_middle_has_lost_the_workflow(settings: Settings, base_dir: Path) -> None:
    with (
        ComfyServer(base_dir) as server,
        client_of(settings, server.host, websocket_reconnect_attempts=300) as worker,
    ):
        job = Running(worker, graphs.through("TestSleeps", steps=2000))
        wait_for(lambda: job.has(NodeProgress))
        server.kill()
        server.start()
        with pytest.raises(BackendFailed, match="has lost the workflow"):
            job.wait(90)
        assert worker.run(graphs.solid(0x100003)).ok


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
    busy = {"/view": 2, "/history/": 2, "/upload": 2}

    def answer(line: str) -> bytes | None:
        for path, left in busy.items():
            if path in line and left:
                busy[path] = left - 1
                return refusal(503)
        return None

    with client_of(settings, proxy.host) as worker:
        proxy.answer = answer
        assert worker.run(graphs.load("in.png"), images={"in.png": _png()}).ok
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
        job = Running(worker, graphs.load("in.png"), images={"in.png": _png()})
        assert silent.wait(10)
        stop(worker)
        if path == "GET /history":
            over.set()
        with pytest.raises(JobInterrupted) if path != "GET /history" else contextlib.nullcontext():
            job.wait(3)
        over.set()
        assert worker.run(graphs.solid(0x100010)).images[0].getpixel((0, 0)) == (0x10, 0, 0x10)


@pytest.mark.parametrize(
    "history",
    [
        {"outputs": [1], "meta": None, "status": "x"},
        {"outputs": {"2": None}, "meta": [], "status": {"messages": [1, [], ["execution_success"], [1, 2]]}},
        {"outputs": {"2": {"images": 5}}, "status": {"messages": [["execution_error", None]]}},
        {"outputs": {"2": {"images": [{"filename": ["x"], "subfolder": 5}, {"filename": "", "type": []}]}}},
        [],
        None,
    ],
)
def test_a_history_of_another_shape(settings: Settings, proxy: CuttingProxy, history: Any) -> None:
    with client_of(settings, proxy.host) as worker:
        proxy.answer = lambda line: (
            refusal(200, json.dumps({line.split("/")[2].split()[0]: history}))
            if line.startswith("GET /history/")
            else None
        )
        assert worker.run(graphs.solid(0x100011)).status in ("success", "error")


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


def test_a_preview_is_not_worth_a_job() -> None:
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0"
    assert isinstance(Binary(1, b"\0\0\0\1" + bomb).event(), Message)


# Others


def test_what_a_job_leaves_is_none_of_the_next_ones(
    settings: Settings, proxy: CuttingProxy, comfy_server: ComfyServer
) -> None:
    with client_of(settings, proxy.host) as worker:
        # A proxy that gives up: the prompt runs, and nobody here knows.
        proxy.spoil = lambda line: refusal(504) if line.startswith("POST /prompt") else None
        with pytest.raises(BackendFailed, match="504"):
            worker.run(graphs.through("TestSleeps", color=0xAA0000, steps=20))
        proxy.spoil = lambda _: None
        check_that_only_its_own_is_told(worker)
        # A node queues itself again and again, another one raises.
        again = {"1": graphs.node("TestQueuesAgain", times=50)} | {
            f"9{key}": node for key, node in graphs.through("TestRaises").items() if key == "1"
        }
        again |= {"3": graphs.node("TestRaises", image=["91", 0])}
        again |= {"4": graphs.node("SaveImage", images=["3", 0], filename_prefix="x")}
        assert worker.run(again).status == "error"
        check_that_only_its_own_is_told(worker)
        assert worker.run({"1": graphs.node("TestQueuesAgain", times=1)}).text  # Now it has forgotten them.
    wait_for(lambda: not ask(comfy_server.host, "/queue")["queue_running"])


def check_that_only_its_own_is_told(worker: Worker) -> None:
    """Run a job, and look at everything that comes of it."""
    color = uuid.uuid4().int & 0xFFFFFF
    job = Running(worker, graphs.solid(color))
    (image,) = job.wait(10).images
    assert image.getpixel((0, 0)) == (color >> 16, color >> 8 & 255, color & 255)
    assert len([event for event in job.events if isinstance(event, PromptEnded)]) == 1
    assert not job.result.text
    assert job.result.ok


def test_run_that_is_told_to_end_stops_its_workflow(
    base_dir: Path, comfy_server: ComfyServer, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "long.json").write_text(json.dumps(graphs.through("TestSleeps", color=6, steps=3000)))
    environment = os.environ | {"COMFY_BACKEND": "websocket", "COMFY_HOST": comfy_server.host}
    command = [sys.executable, "-m", "worker", "run", tmp_path / "long.json", "--out", tmp_path]
    process = subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE)
    wait_for(lambda: ask(comfy_server.host, "/queue")["queue_running"])
    process.terminate()
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error.decode().strip().splitlines()[-1]) == (130, "worker: interrupted")
    wait_for(lambda: not ask(comfy_server.host, "/queue")["queue_running"], 3)


def test_another_clients_prompts_are_none_of_ours(settings: Settings, comfy_server: ComfyServer) -> None:
    with client_of(settings, comfy_server.host) as worker:
        theirs = queue_for_another(comfy_server.host, graphs.through("TestSleeps", color=1, steps=40))
        job = Running(worker, graphs.through("TestSleeps", color=0x203010, steps=3))
        after = queue_for_another(comfy_server.host, graphs.through("TestSendsMessages", color=2))
        assert job.wait().images[0].getpixel((0, 0)) == (0x20, 0x30, 0x10)
        ended = [event.prompt_id for event in job.events if isinstance(event, PromptEnded)]
        assert len(ended) == 1
        assert ended[0] not in (theirs, after)
        progress = [event.maximum for event in job.events if isinstance(event, NodeProgress)]
        assert set(progress) == {3}
        wait_for(lambda: after in ask(comfy_server.host, "/history"))
        assert {theirs, after} <= set(ask(comfy_server.host, "/history")), "their history is left alone"


def test_a_job_that_is_stopped_spares_the_others(settings: Settings, comfy_server: ComfyServer) -> None:
    with client_of(settings, comfy_server.host) as worker:
        theirs = queue_for_another(comfy_server.host, graphs.through("TestSleeps", color=3, steps=100))
        waiting = Running(worker, graphs.through("TestSleeps", color=4, steps=50))
        wait_for(lambda: ask(comfy_server.host, "/queue")["queue_pending"])
        stop(worker)
        with pytest.raises(JobInterrupted):
            waiting.wait(5)
        queue = ask(comfy_server.host, "/queue")
        assert [item[1] for item in queue["queue_running"]] == [theirs]
        assert not queue["queue_pending"]
        wait_for(lambda: theirs in ask(comfy_server.host, "/history"))
        entry = ask(comfy_server.host, f"/history/{theirs}")[theirs]
        assert entry["status"]["status_str"] == "success"


def test_a_prompt_that_others_remove_from_the_queue_is_lost(settings: Settings, comfy_server: ComfyServer) -> None:
    with client_of(settings, comfy_server.host) as worker:
        queue_for_another(comfy_server.host, graphs.through("TestSleeps", color=5, steps=100))
        job = Running(worker, graphs.solid(0x10000A))
        wait_for(lambda: ask(comfy_server.host, "/queue")["queue_pending"])
        ask(comfy_server.host, "/queue", {"clear": True})
        with pytest.raises(BackendFailed, match="its queue was cleared"):
            job.wait()


def test_a_node_that_queues_itself_again_stays_in_its_job(websocket_worker: Worker) -> None:
    job = Running(websocket_worker, {"1": graphs.node("TestQueuesAgain", times=3)})
    assert job.wait().text == ["ran 3 times"]
    assert len([event for event in job.events if isinstance(event, PromptEnded)]) == 3


# What a job leaves, and what it brings


def test_the_history_of_a_job_is_removed(websocket_worker: Worker, comfy_server: ComfyServer) -> None:
    before = set(ask(comfy_server.host, "/history"))
    assert websocket_worker.run(graphs.solid(0x10000B)).ok
    assert websocket_worker.run(graphs.through("TestRaises")).errors
    with pytest.raises(WorkflowRejected):
        websocket_worker.run({"1": graphs.node("Nope")})
    wait_for(lambda: set(ask(comfy_server.host, "/history")) <= before)


def test_files_of_equal_names_have_folders_of_their_own(websocket_worker: Worker, comfy_server: ComfyServer) -> None:
    for color in ("red", "blue", "red"):
        result = websocket_worker.run(graphs.load("a/in.png"), images={"a/in.png": _png(color)})
        assert result.images[0].getpixel((0, 0)) == {"red": (255, 0, 0), "blue": (0, 0, 255)}[color]
    with pytest.raises(WorkflowRejected):
        websocket_worker.run(graphs.load("a/in.png"))
    uploaded = [path for path in (comfy_server.root / "input").rglob("in.png") if path.parent.name == "a"]
    assert len(uploaded) == 2, "equal files are stored once"


def test_previews_come_with_their_node(websocket_worker: Worker, tiny_checkpoint: Path) -> None:
    job = Running(websocket_worker, graphs.text_to_image(seed=3, steps=4))
    assert job.wait(60).ok
    previews = [event for event in job.events if isinstance(event, Preview)]
    assert {event.node_id for event in previews} == {"3"}
    assert previews[0].image.size[0] > 0
    assert {event.class_type for event in job.events if isinstance(event, NodeStarted)} > {"KSampler", "VAEDecode"}
    assert job.has(NodeOutput)


def test_files_of_odd_names_cost_no_other_one(
    websocket_worker: Worker, comfy_server: ComfyServer, tmp_path: Path
) -> None:
    (comfy_server.root / "output" / "plain.txt").write_text("plain")
    entries: list[dict[str, Any]] = [
        {"filename": "x.png", "subfolder": "s" * 300, "type": "output"},
        {"filename": "x" * 1200, "type": "output"},
        {"filename": "x.png", "subfolder": "\ud800", "type": "output"},
        {"filename": "gone.png", "subfolder": "plain.txt", "type": "output"},
        {"filename": "../../escaped.txt", "subfolder": "", "type": "output"},
        {"filename": "x.png", "subfolder": ["a"], "type": "output"},
        {"filename": "plain.txt"},
    ]
    outcome = PromptOutcome("id", "success", {"1": {"files": entries}})
    workspace = websocket_worker.state.new_workspace()
    backend: Any = websocket_worker._backend
    lines = fetch_outputs(backend.api, [outcome], workspace, lambda: False)
    assert (workspace.output / "plain.txt").read_text() == "plain"
    assert all("could not be fetched" in line and str(workspace.root) not in line for line in lines)
    collected = collect(RunResult("success", {"1": [{"files": entries}]}), workspace)
    assert [artifact.filename for artifact in collected.artifacts] == ["plain.txt"]
    assert len(collected.errors) == 6


def test_names_in_a_graph_become_those_on_the_server() -> None:
    staged = {"in.png": "aa", "sub/a b.png": "bb", "3d/mesh.glb": "cc"}
    folder = job_folder(staged)
    assert folder.startswith("worker-")
    assert folder == job_folder(dict(reversed(staged.items())))
    assert folder != job_folder(staged | {"in.png": "ab"}) != job_folder(staged)
    names = {name: "/".join(place(name, folder)) for name in staged}
    assert names == {
        "in.png": f"{folder}/in.png",
        "sub/a b.png": f"{folder}/sub/a b.png",
        "3d/mesh.glb": f"3d/{folder}/mesh.glb",
    }
    graph = {
        "1": graphs.node("A", image="in.png", text="an in.png", link=["in.png", 0], folder="sub", prompt="sub"),
        "2": graphs.node("B", image="./sub//a b.png [input]", nested={"x": ["in.png", {"y": "3d/mesh.glb"}]}),
        "3": graphs.node("C", filename_prefix="in.png", prompt="in.png", text_g="in.png"),
    }
    changed = renamed(graph, names, folder)
    assert changed["1"]["inputs"] == {
        "image": names["in.png"], "text": "an in.png", "link": ["in.png", 0],
        "folder": f"{folder}/sub", "prompt": "sub",
    }  # fmt: skip
    assert changed["2"]["inputs"] == {
        "image": names["sub/a b.png"], "nested": {"x": [names["in.png"], {"y": names["3d/mesh.glb"]}]},
    }  # fmt: skip
    assert changed["3"] == graph["3"]
    assert graph["1"]["inputs"]["image"] == "in.png"


# Settings and commands


@pytest.mark.parametrize(
    "host",
    [
        "",
        "http://",
        "host:port",
        "host:99999",
        "ftp://host",
        "host/path",
        "http://user:secret@host",
        "http://host?x=1",
        "a b:80",
        "h\n:1",
        "h..x",
        "-h",
        "l" * 70,
        "h:1:2",
        "[::1",
    ],
)
def test_a_host_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("COMFY_HOST", host)
    if not host:
        assert load_settings().comfy_host == "127.0.0.1:8188"
        return
    with pytest.raises(SettingsError, match=r"COMFY_HOST=.*it takes host:port") as caught:
        load_settings()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["h", "h:1", "my-host.example.com:8188", "10.0.0.1:80", "[::1]:8188", "https://comfy_1:443/"]
)
def test_a_host_that_makes_sense(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("COMFY_HOST", host)
    assert load_settings().comfy_host == host.rstrip("/")


def test_a_worker_is_started_once(websocket_worker: Worker) -> None:
    with pytest.raises(StartError, match="open already"):
        websocket_worker.start()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBSOCKET_RECONNECT_ATTEMPTS", "abc"),
        ("WEBSOCKET_RECONNECT_ATTEMPTS", "-1"),
        ("WEBSOCKET_RECONNECT_DELAY_S", "nan"),
        ("WEBSOCKET_TRACE", "yes"),
        ("COMFY_API_AVAILABLE_INTERVAL_MS", "0"),
        ("COMFY_API_AVAILABLE_MAX_RETRIES", "1.5"),
        ("COMFY_BACKEND", "http"),
    ],
)
def test_a_setting_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}='{value}' cannot be read: it takes"):
        load_settings()


def test_the_command_line_and_the_trace(
    command: Callable[..., subprocess.CompletedProcess[str]], comfy_server: ComfyServer, tmp_path: Path
) -> None:
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps({"workflow": graphs.solid(0x10000C), "comfy_org_api_key": "sk-secret"}))
    there = {"COMFY_BACKEND": "websocket", "COMFY_HOST": comfy_server.host}
    ended = command("run", file, "--out", tmp_path, "--json", WEBSOCKET_TRACE="true", **there)
    assert ended.returncode == 0, ended.stderr
    assert Path(json.loads(ended.stdout)["files"][0]["path"]).read_bytes().startswith(b"\x89PNG")
    assert "execution_success" in ended.stderr
    assert "sk-secret" not in ended.stderr
    ended = command("check", **there)
    assert ended.returncode == 0, ended.stderr
    assert f"a server at http://{comfy_server.host}" in ended.stdout
    assert "A job can run here" in ended.stdout


def test_a_client_needs_no_torch(comfy_server: ComfyServer, project: Path) -> None:
    code = "import sys, worker; worker.Worker().start().close(); sys.exit('torch' in sys.modules)"
    environment = {"COMFY_BACKEND": "websocket", "COMFY_HOST": comfy_server.host, "PATH": "/usr/bin"}
    python = str(project / ".venv" / "bin" / "python")
    subprocess.run([python, "-c", code], cwd=project, env=environment, check=True, timeout=60)


def test_the_trace_goes_through_the_workers_log(
    settings: Settings, comfy_server: ComfyServer, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        with client_of(settings, comfy_server.host, websocket_trace=True) as worker:
            worker.run(graphs.solid(0x10000D))
    finally:
        websocket.enableTrace(False)
        logging.getLogger("websocket").propagate = True
    assert any(
        record.name == "worker.websocket" and "execution_start" in record.getMessage() for record in caplog.records
    )


def _png(color: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(buffer, "PNG")
    return buffer.getvalue()
