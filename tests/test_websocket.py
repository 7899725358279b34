"""The compatibility mode: one client among others, what a job brings and leaves, settings and commands."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import pytest
import websocket
from comfy_server import ComfyServer
from cutting_proxy import CuttingProxy, refusal
from pictures import png
from websocket_jobs import Running, ask, client_of, queue_for_another, stop, wait_for

from worker import Settings, Worker
from worker.answer.outputs import collect
from worker.engine.graph_run import GraphRun, RunResult
from worker.errors import BackendFailed, JobInterrupted, SettingsError, StartError, WorkflowRejected
from worker.events import NodeOutput, NodeProgress, NodeStarted, Preview, PromptEnded
from worker.protocol.prompt_outcome import PromptOutcome
from worker.remote.names import job_folder, renamed, upload_target
from worker.remote.transfer import fetch_outputs
from worker.settings import load_settings

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
    command = [sys.executable, "-m", "worker", "run", str(tmp_path / "long.json"), "--out", str(tmp_path)]
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
        result = websocket_worker.run(graphs.load("a/in.png"), images={"a/in.png": png(color)})
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
    run = GraphRun({}, workspace)
    backend: Any = websocket_worker._backend
    lines = fetch_outputs(backend.api, [outcome], run, lambda: False)
    assert (workspace.output / "plain.txt").read_text() == "plain"
    assert all("could not be fetched" in line and str(workspace.root) not in line for line in lines)
    ran = RunResult(run, "success", {"1": [{"files": entries}]})
    collected = collect(ran)
    assert [artifact.filename for artifact in collected.artifacts] == ["plain.txt"]
    assert (len(collected.errors), len(collected.warnings)) == (5, 1)


def test_names_in_a_graph_become_those_on_the_server() -> None:
    staged = {"in.png": "aa", "sub/a b.png": "bb", "3d/mesh.glb": "cc"}
    folder = job_folder(staged)
    assert folder.startswith("worker-")
    assert folder == job_folder(dict(reversed(staged.items())))
    assert folder != job_folder(staged | {"in.png": "ab"}) != job_folder(staged)
    names = {name: "/".join(upload_target(name, folder)) for name in staged}
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
