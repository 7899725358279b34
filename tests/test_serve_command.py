"""``python -m worker serve`` as a process: the local API's life, and single test jobs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import psutil
import pytest
import requests
from local_server import local_server, until_it_listens

Command = Callable[..., subprocess.CompletedProcess[str]]
PLATFORM = {"RUNPOD_WEBHOOK_GET_JOB": "", "RUNPOD_POD_ID": ""}


def leave_a_thread(process: subprocess.Popen[str], url: str) -> None:
    """Run a node that leaves a thread behind, in a server that is its own ComfyUI."""
    threads = psutil.Process(process.pid).num_threads()
    body = {"input": {"workflow": graphs.through("TestLeavesThread")}}
    assert requests.post(f"{url}/runsync", json=body, timeout=60).json()["status"] == "COMPLETED"
    assert psutil.Process(process.pid).num_threads() > threads


@pytest.mark.parametrize(
    ("number", "backend"),
    [
        (signal.SIGTERM, "embedded"),
        (signal.SIGINT, "websocket"),
        pytest.param(signal.SIGTERM, "websocket", marks=pytest.mark.full),
        pytest.param(signal.SIGINT, "embedded", marks=pytest.mark.full),
    ],
)
def test_a_server_ends_with_its_job_and_answers_who_waits(
    project: Path, base_dir: Path, request: pytest.FixtureRequest, number: int, backend: str
) -> None:
    """Threads that a node has left running do not keep the process."""
    variables = request.getfixturevalue("as_client") if backend == "websocket" else {}
    with local_server(project, base_dir, **variables) as (process, url):
        until_it_listens(url)
        assert "jobs" in requests.get(f"{url}/health", timeout=60).json(), "a request waits while ComfyUI starts"
        if backend == "embedded":
            leave_a_thread(process, url)
        answers: list[Any] = []
        body = {"input": {"workflow": graphs.through("TestSleeps", steps=5000)}}
        waiting = threading.Thread(
            target=lambda: answers.append(requests.post(f"{url}/runsync", json=body, timeout=60).json())
        )
        waiting.start()
        while not requests.get(f"{url}/health", timeout=5).json()["workers"]["running"]:
            time.sleep(0.02)
        sent = time.monotonic()
        process.send_signal(number)
        assert process.wait(15) == 0
        assert time.monotonic() - sent < 8
        waiting.join()
        assert answers[0]["status"] == "CANCELLED"
        output = process.stdout.read() if process.stdout else ""
        assert "Traceback" not in output
        assert "The local API listens on 127.0.0.1:" in output


def test_a_port_that_is_taken(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = command("serve", "--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", port, **PLATFORM)
    assert answer.returncode == 3
    assert answer.stderr.endswith(
        f"worker: The local API cannot listen on 127.0.0.1:{port} (Address already in use): set LOCAL_API_HOST or "
        "LOCAL_API_PORT\n"
    )


def test_a_test_input_runs_once(command: Command) -> None:
    job = {"input": {"workflow": graphs.solid(width=512, height=512)}}
    answer = command("--test_input", json.dumps(job), **PLATFORM)
    assert answer.returncode == 0, answer.stderr
    (image,) = json.loads(answer.stdout)["images"]
    assert image["filename"] == "ComfyUI_00001_.png"
    assert image["data"].endswith(" characters)"), "it is there to be looked at"
    assert "Job local_test: completed in " in answer.stderr


def test_a_failed_test_input_has_its_exit_code(command: Command, as_client: dict[str, str]) -> None:
    answer = command("serve", "--test_input", json.dumps({"id": "mine", "input": {}}), **PLATFORM, **as_client)
    assert answer.returncode == 1
    assert json.loads(answer.stdout) == {"error": "Missing 'workflow' parameter", "error_type": "invalid_input"}
    assert "[mine] INFO A job: invalid_input in " in answer.stderr


def test_a_test_input_keeps_the_largest_answer(command: Command, as_client: dict[str, str]) -> None:
    job = {"input": {"workflow": {"1": graphs.node("TestShowsText", text="x" * 3000)}}}
    answer = command("--test_input", json.dumps(job), MAX_RESPONSE_MB="0.002", **PLATFORM, **as_client)
    assert answer.returncode == 1
    given = json.loads(answer.stdout)
    assert given["error_type"] == "answer_too_large"
    assert given["error"].startswith("The answer has 0.0 MB and may have 0.002 MB (MAX_RESPONSE_MB)")


def test_a_test_input_in_a_file(project: Path, as_client: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_input.json").write_text(json.dumps({"input": {"workflow": graphs.solid()}}))
    answer = subprocess.run(
        [sys.executable, "-m", "worker"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(project)} | PLATFORM | as_client,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "images" in json.loads(answer.stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 3, "There is nothing to serve: set SERVE_API_LOCALLY=true"),
        (["--test_input", "{"], 2, "--test_input is no JSON"),
        (["--test_input", "[]"], 2, "--test_input must be an object with an 'input'"),
        (["--test_input", "{}"], 2, "--test_input must be an object with an 'input'"),
        (["serve", "--rp_api_port", "99999"], 2, "99999 is no port number"),
        (["serve", "--nonsense"], 2, "unrecognized arguments: --nonsense"),
    ],
)
def test_what_is_wrong_is_said_before_comfyui_starts(
    command: Command, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    answer = command(*arguments, timeout=10, COMFYUI_PATH=str(tmp_path), **PLATFORM)
    assert answer.returncode == code
    assert text in answer.stderr
    assert "Traceback" not in answer.stderr
