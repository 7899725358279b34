"""The local API over HTTP, on a real worker, as RunPod's own clients and others use it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import graphs
import pytest
import requests
from local_api import get, post, request, serving, sleeping, until
from pydantic import SecretStr

from worker import Settings, Worker
from worker.local_api.serve import is_open

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def url(worker: Worker) -> Iterator[str]:
    """The address of a local API."""
    with serving(worker) as address:
        yield address


def no_nulls(value: Any) -> bool:
    """Whether no value in ``value`` is null."""
    if isinstance(value, dict):
        return all(no_nulls(inner) for inner in value.values())
    return all(no_nulls(inner) for inner in value) if isinstance(value, list) else value is not None


def test_run_then_status(url: str) -> None:
    queued = post(f"{url}/run", request(graphs.solid(0x112233)))
    assert queued == {"id": queued["id"], "status": "IN_QUEUE"}
    done = until(url, queued["id"], "COMPLETED")
    assert set(done) == {"id", "status", "delayTime", "executionTime", "workerId", "output"}
    assert isinstance(done["delayTime"], int)
    assert isinstance(done["executionTime"], int)
    (image,) = done["output"]["images"]
    assert base64.b64decode(image["data"]).startswith(b"\x89PNG")
    assert post(f"{url}/status/{queued['id']}") == done, "POST as well as GET, and as often as one likes"


def test_a_job_runs_once_however_often_it_is_asked_for(url: str, worker: Worker) -> None:
    before = get(f"{url}/health")["jobs"]["completed"]
    job_id = post(f"{url}/run", request(sleeping(0.5)))["id"]
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(get(f"{url}/status-sync/{job_id}?wait=5000"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["status"] for answer in answers] == ["COMPLETED"] * 8
    assert all(answer == answers[0] for answer in answers)
    assert get(f"{url}/health")["jobs"]["completed"] == before + 1


def test_runsync_waits_and_falls_back_to_a_status(url: str) -> None:
    done = post(f"{url}/runsync", request(graphs.solid(0x010203)))
    assert done["id"].startswith("sync-")
    assert done["status"] == "COMPLETED"
    running = post(f"{url}/runsync?wait=1000", request(sleeping(2)))
    assert running["status"] == "IN_PROGRESS"
    assert {"message", "percent", "stage", "completed_nodes", "total_nodes", "seconds"} <= set(running["output"])
    assert no_nulls(running)
    assert get(f"{url}/status-sync/{running['id']}")["status"] == "COMPLETED"


def test_a_failed_job_has_its_error_and_its_details(url: str) -> None:
    failed = post(f"{url}/runsync", request(graphs.through("TestRaises")))
    assert failed["status"] == "FAILED"
    assert failed["error"] == "Job processing failed"
    assert failed["output"]["error_type"] == "workflow_execution"
    refused = post(f"{url}/runsync", {"input": {}})
    assert (refused["status"], refused["error"]) == ("FAILED", "Missing 'workflow' parameter")


def test_cancel_stops_a_job_that_runs_and_one_that_waits(url: str) -> None:
    running, waiting = (post(f"{url}/run", request(sleeping()))["id"] for _ in range(2))
    until(url, running, "IN_PROGRESS")
    assert get(f"{url}/status/{waiting}") == {"id": waiting, "status": "IN_QUEUE"}
    for job_id in (waiting, running):
        cancelled = post(f"{url}/cancel/{job_id}")
        assert (cancelled["id"], cancelled["status"]) == (job_id, "CANCELLED")
        assert get(f"{url}/status/{job_id}")["status"] == "CANCELLED"
    done = post(f"{url}/runsync", request(graphs.solid(1)))
    assert done["status"] == "COMPLETED", "the thread is free again"
    assert post(f"{url}/cancel/{done['id']}")["status"] == "COMPLETED", "what is over stays as it is"


def test_purge_queue_leaves_what_runs(url: str) -> None:
    running, *waiting = (post(f"{url}/run", request(sleeping()))["id"] for _ in range(4))
    until(url, running, "IN_PROGRESS")
    assert get(f"{url}/health") == {
        "jobs": get(f"{url}/health")["jobs"] | {"inQueue": 3, "inProgress": 1},
        "workers": {"idle": 0, "initializing": 0, "ready": 1, "running": 1, "throttled": 0, "unhealthy": 0},
    }
    assert post(f"{url}/purge-queue") == {"removed": 3, "status": "completed"}
    assert {get(f"{url}/status/{job_id}")["status"] for job_id in waiting} == {"CANCELLED"}
    assert get(f"{url}/status/{running}")["status"] == "IN_PROGRESS"
    post(f"{url}/cancel/{running}")


def test_stream_gives_the_output_once(url: str) -> None:
    job_id = post(f"{url}/run", request(sleeping(0.5)))["id"]
    assert get(f"{url}/stream/{job_id}")["stream"] == []
    done = until(url, job_id, "COMPLETED")
    assert get(f"{url}/stream/{job_id}") == {
        "id": job_id,
        "status": "COMPLETED",
        "stream": [{"output": done["output"]}],
    }
    assert get(f"{url}/stream/{job_id}")["stream"] == []


def test_a_request_that_breaks_off(url: str, caplog: pytest.LogCaptureFixture) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST /run HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n{{".encode())
        time.sleep(0.2)
    assert get(f"{url}/health")
    assert "Traceback" not in caplog.text


def test_a_lost_connection_cancels_nothing(url: str) -> None:
    before = get(f"{url}/health")["jobs"]["completed"]
    body = json.dumps(request(sleeping(1))).encode()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /runsync HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        time.sleep(0.3)
    end = time.monotonic() + 10
    while get(f"{url}/health")["jobs"]["completed"] == before:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_execution_timeout(url: str) -> None:
    start = time.monotonic()
    ended = post(f"{url}/runsync", request(sleeping(), policy={"executionTimeout": 5000}))
    assert ended["status"] == "TIMED_OUT"
    assert ended["error"] == "The job ran longer than its executionTimeout of 5000 ms"
    assert time.monotonic() - start < 20
    assert post(f"{url}/runsync", request(graphs.solid(2)))["status"] == "COMPLETED"


def test_a_ttl_ends_a_job_and_forgets_it(url: str) -> None:
    job_id = post(f"{url}/run", request(sleeping()))["id"]
    until(url, job_id, "IN_PROGRESS")
    get(f"{url}/status/{job_id}?ttl=1000")
    time.sleep(1.2)
    assert requests.get(f"{url}/status/{job_id}", timeout=5).status_code == 404
    assert post(f"{url}/runsync", request(graphs.solid(3)))["status"] == "COMPLETED"


@pytest.mark.parametrize("prefix", ["", "/v2/my-endpoint", "/my-endpoint", "/v2"])
def test_every_prefix_serves(url: str, prefix: str) -> None:
    done = requests.post(
        f"{url}{prefix}/runsync",
        json=request(graphs.solid(4)),
        headers={"Authorization": "Bearer anything"},
        timeout=60,
    ).json()
    assert done["status"] == "COMPLETED"
    assert get(f"{url}{prefix}/status/{done['id']}") == done
    assert "jobs" in get(f"{url}{prefix}/health")


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "text"),
    [
        ("POST", "/run", b"{", 400, "The body is no JSON: "),
        ("POST", "/run", b"", 400, "The body is no JSON: "),
        ("POST", "/run", b"\xff\xfe", 400, "The body is no JSON: "),
        ("POST", "/run", b"[1]", 400, "The body must be a JSON object with an 'input'"),
        ("POST", "/run", b"{}", 400, "Please provide input"),
        ("POST", "/run", b'{"input": null}', 400, "Please provide input"),
        (
            "POST",
            "/run",
            b'{"input": {}, "webhook": "file:///etc/passwd"}',
            400,
            "'webhook' must be an http(s) address",
        ),
        ("POST", "/run", b'{"input": {}, "webhook": 5}', 400, "'webhook': "),
        ("POST", "/run", b'{"input": {}, "policy": {"executionTimeout": 10}}', 400, "'policy.executionTimeout': "),
        ("POST", "/run", b'{"input": {}, "policy": {"ttl": "soon"}}', 400, "'policy.ttl': "),
        ("POST", "/run", b"[" * 100_000, 400, "The body is no JSON: "),
        ("POST", "/runsync?wait=5", b'{"input": {}}', 400, "'wait': "),
        ("POST", "/runsync?wait=x", b'{"input": {}}', 400, "'wait': "),
        ("GET", "/status/none", None, 404, "There is no job 'none', or its result is no longer kept"),
        ("POST", "/cancel/none", None, 404, "There is no job 'none'"),
        ("GET", "/run", None, 405, "GET /run: Method Not Allowed"),
        ("GET", "/there/is/no/such/path", None, 404, "GET /there/is/no/such/path: Not Found"),
    ],
)
def test_what_is_wrong_is_said(url: str, method: str, path: str, body: bytes | None, code: int, text: str) -> None:
    answer = requests.request(method, url + path, data=body, timeout=10)
    assert answer.status_code == code
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"].startswith(text)


def test_a_request_over_the_limit(url: str, worker: Worker) -> None:
    body = json.dumps({"input": {"workflow": {}, "filler": "x" * 11_000_000}})
    refused = requests.post(f"{url}/run", data=body, timeout=30)
    assert refused.status_code == 413
    assert "more than 10 MB" in refused.json()["error"]
    assert requests.post(f"{url}/runsync", data=body, timeout=30).status_code == 200, "its limit is 20 MB"
    with serving(worker, local_api_max_request_mb=100.0) as other:
        assert requests.post(f"{other}/run", data=body, timeout=30).status_code == 200


class _Receiver(BaseHTTPRequestHandler):
    bodies: list[dict[str, Any]]
    answers: list[int]

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.answers.pop(0))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def receiver(*answers: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server for webhooks: its address, and what it was sent."""
    bodies: list[dict[str, Any]] = []
    handler = type("Handler", (_Receiver,), {"bodies": bodies, "answers": list(answers)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", bodies
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("answers", [(200,), (500, 302, 200), (500, 500, 500)])
def test_webhooks_get_the_status_three_times_at_most(url: str, answers: tuple[int, ...]) -> None:
    with receiver(*answers) as (hook, bodies):
        done = post(f"{url}/runsync", request(graphs.solid(6), webhook=hook))
        end = time.monotonic() + 10
        while len(bodies) < len(answers):
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.3)
    assert bodies == [done] * len(answers)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "192.168.1.20:8000"}, 200),
        ({"Host": "gpu-box:8000"}, 200),
        ({"Host": "host.docker.internal:8000"}, 200),
        ({"Host": "api.allowed.example"}, 200),
        ({"Host": "attacker.example"}, 403),
        ({"Host": "localhost.attacker.example:8000"}, 403),
        ({"Host": "127.0.0.1.attacker.example"}, 403),
        ({"Host": "["}, 403),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
        ({"Host": "localhost:8000", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost:8000", "Origin": "https://attacker.example"}, 403),
        ({"Host": "localhost:8000", "Origin": "null"}, 403),
        ({"Host": "localhost:8000", "Origin": "http://["}, 403),
        ({"Host": "attacker.example@localhost"}, 403),
        ({"Host": "attacker.example\\.local"}, 403),
    ],
)
def test_pages_of_strangers_are_refused(worker: Worker, headers: dict[str, str], code: int) -> None:
    with serving(worker, local_api_hosts=("*.allowed.example",)) as url:
        answer = requests.get(f"{url}/health", headers=headers, timeout=5)
    assert answer.status_code == code, answer.text


def test_a_token(worker: Worker) -> None:
    with serving(worker, local_api_token=SecretStr("öpen sesame")) as url:
        for header in ("Bearer öpen sesame", "bearer öpen sesame", "öpen sesame"):
            answer = requests.post(
                f"{url}/runsync", json=request(graphs.solid(7)), headers={"Authorization": header.encode()}, timeout=60
            )
            assert answer.status_code == 200
        for header in ("", "Bearer", "Bearer open", "Bearer open sesame!", "Basic open sesame"):
            for path in ("/run", "/docs/run", "/swagger/run", "/v2/docs/run"):
                refused = requests.post(f"{url}{path}", json={}, headers={"Authorization": header}, timeout=5)
                assert refused.status_code == 401, path
                assert "sesame" not in refused.text
        assert requests.get(f"{url}/docs", timeout=5).status_code == 200


def test_curl(url: str, tmp_path: Path) -> None:
    body = tmp_path / "request.json"
    body.write_text(json.dumps(request(graphs.solid(8))))
    command = ["curl", "--silent", "--fail", "--max-time", "30", f"{url}/runsync", "--data", f"@{body}"]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert answer["status"] == "COMPLETED"


def check_client(seen: dict[str, Any]) -> None:
    """What both clients have seen after the same steps."""
    assert seen["progress"]["status"] == "IN_PROGRESS"
    assert isinstance(seen["progress"].get("output", {}), dict)
    assert no_nulls(seen["progress"])
    assert seen["health"]["jobs"]["inQueue"] == 1
    assert seen["health"]["workers"]["running"] == 1
    assert len(seen["stream"]) == 1


def test_runpods_python_client(url: str, project: Path) -> None:
    seen = json.loads(
        subprocess.run(
            [
                sys.executable,
                project / "tests" / "clients" / "endpoint.py",
                json.dumps(graphs.solid(9)),
                json.dumps(sleeping()),
            ],
            env=os.environ | {"RUNPOD_ENDPOINT_BASE_URL": f"{url}/v2"},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
    )
    check_client(seen)
    assert seen["run_sync"]["images"][0]["filename"] == "ComfyUI_00001_.png"
    assert seen["output"] == seen["run_sync"] == seen["stream"][0]
    assert seen["status"] == "COMPLETED"
    assert seen["purge_queue"] == {"removed": 1, "status": "completed"}
    assert (seen["purged"], seen["cancelled"]) == ("CANCELLED", "CANCELLED")
    assert seen["cancel"]["status"] == "CANCELLED"


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js and npm")
def test_runpods_javascript_client(url: str, project: Path, tmp_path: Path) -> None:
    clients = project / "tests" / "clients"
    shutil.copy(clients / "package.json", tmp_path)
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(install, cwd=tmp_path, check=True, timeout=120)
    command = ["node", str(clients / "endpoint.mjs"), f"{url}/v2", json.dumps(graphs.solid(10)), json.dumps(sleeping())]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    check_client(seen)
    assert seen["runSync"]["succeeded"] is True
    assert seen["status"]["output"] == seen["stream"][0]["output"]
    assert seen["purgeQueue"]["removed"] == 1
    assert seen["purged"]["status"] == seen["cancelled"]["status"] == "CANCELLED"
    assert seen["cancelled"]["completed"] is True


@pytest.mark.parametrize("examples", [5, pytest.param(20, marks=pytest.mark.full)])
def test_schemathesis_finds_nothing(url: str, tmp_path: Path, examples: int) -> None:
    """Every operation of the OpenAPI document, with what fits it and what does not: no 5xx, nothing undocumented."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
    limits = [
        "--checks",
        checks,
        "--max-examples",
        str(examples),
        "--request-timeout",
        "20",
        "--seed",
        "1",
        "--no-color",
    ]
    ran = subprocess.run([*command, *limits], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, ran.stdout[-6000:]


def test_the_document_describes_what_is_sent(url: str) -> None:
    document = get(f"{url}/openapi.json")
    assert set(document["paths"]) == {
        "/run",
        "/runsync",
        "/status/{job_id}",
        "/status-sync/{job_id}",
        "/stream/{job_id}",
        "/cancel/{job_id}",
        "/purge-queue",
        "/health",
        "/metrics",
        "/describe",
        "/workflows",
        "/workflows/{name}",
    }
    assert {"JobRequest", "Policy", "JobStatus", "Error"} <= set(document["components"]["schemas"])


def test_the_docs_need_nothing_from_elsewhere(url: str) -> None:
    page = requests.get(f"{url}/docs", timeout=5).text
    needed = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(needed) >= 3
    for address in needed:
        assert address.startswith((url, "/")), address
        assert requests.get(address, timeout=5).status_code == 200


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_docs_in_a_browser(url: str, tmp_path: Path) -> None:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    command = [CHROMIUM or "", *flags, f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom"]
    page = subprocess.run([*command, f"{url}/docs"], capture_output=True, text=True, timeout=60, check=True).stdout
    for operation in ("/run", "/runsync", "/cancel/", "/purge-queue", "/health"):
        assert operation in page


def test_results_give_way_when_they_are_too_many(worker: Worker) -> None:
    with serving(worker, local_api_results_mb=0.0005) as url:
        first, second = (post(f"{url}/runsync", request(graphs.solid(color)))["id"] for color in (1, 2))
        assert get(f"{url}/status/{second}")["status"] == "COMPLETED"
        third = post(f"{url}/runsync", request(graphs.solid(3)))["id"]
        assert requests.get(f"{url}/status/{first}", timeout=5).status_code == 404
        assert get(f"{url}/status/{third}")["status"] == "COMPLETED"


def test_the_local_server_sends_large_answers(url: str, settings: Settings) -> None:
    graph = graphs.solid()
    graph["1"] = graphs.node("TestMakesNoise", width=2600, height=2600)
    assert settings.max_response_mb is None
    assert len(post(f"{url}/runsync", request(graph))["output"]["images"][0]["data"]) > 25_000_000


@pytest.mark.parametrize(
    ("host", "token", "expected"),
    [
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("0.0.0.0", None, True),  # noqa: S104 - nothing listens here.
        ("::", None, True),
        ("192.168.1.2", None, True),
        ("0.0.0.0", "secret", False),  # noqa: S104
    ],
)
def test_an_open_server_without_a_token_is_told(host: str, token: str | None, expected: bool) -> None:
    settings = Settings(local_api_token=SecretStr(token) if token else None)
    assert is_open(host, settings) is expected
