"""The files beside the Dockerfile: they agree with each other, with the settings, and with what they start.

``scripts/build_image --check`` builds the image itself and runs it.
"""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from worker import Worker
from worker.handler import make_handler
from worker.settings import Settings


def read(project: Path, name: str) -> Any:
    """A JSON or YAML file of the project."""
    text = (project / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def test_the_image_has_the_comfyui_of_the_submodule(project: Path) -> None:
    entry = subprocess.run(
        ["git", "ls-files", "-s", "vendor/ComfyUI"],  # noqa: S607
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (pinned,) = re.findall(r"^ARG COMFYUI_REVISION=(\w+)$", (project / "Dockerfile").read_text(), re.MULTILINE)
    assert entry.split()[:2] == ["160000", pinned]


def test_all_that_is_copied_is_in_the_build_context(project: Path) -> None:
    """.dockerignore names what may come; a file that it forgets is missing only when the image is built."""
    allowed = [line[1:] for line in (project / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copies = re.findall(r"^COPY (?!--from)(.*)$", (project / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source.rstrip("/") for line in copies for source in line.replace("${ENVIRONMENT}", "").split()[:-1]]
    assert len(sources) > 8
    for source in sources:
        assert (project / source).exists()
        assert any(source == name or source.startswith(f"{name}/") for name in allowed), source


def test_a_build_file_may_come_into_the_image(project: Path) -> None:
    allowed = [line[1:] for line in (project / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in ("comfy-build.yaml", "workflow.json", "snapshot.json"):
        assert any(fnmatch(name, pattern) for pattern in allowed)


def test_the_hub_offers_settings_that_there_are(project: Path) -> None:
    for entry in read(project, ".runpod/hub.json")["config"]["env"]:
        field = Settings.model_fields[entry["key"].lower()]
        default = () if field.default == () else field.default
        assert entry["input"]["default"] == ("" if default in (None, ()) else default), entry["key"]
        for option in entry["input"].get("options", []):
            assert getattr(Settings(**{entry["key"].lower(): option["value"]}), entry["key"].lower()) == option["value"]


def test_presets_of_the_hub_can_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for preset in read(project, ".runpod/hub.json")["config"]["presets"]:
        values = {name.lower(): str(value) for name, value in preset["defaults"].items()}
        settings = Settings(**values)  # type: ignore[arg-type] # As the environment gives them: texts.
        assert set(values) <= settings.model_fields_set


async def answers(worker: Worker, inputs: list[Any]) -> list[Any]:
    """The answers to jobs with these inputs."""
    handler = make_handler(worker)
    return [await handler({"id": f"hub-{index}", "input": given}) for index, given in enumerate(inputs)]


def test_the_hubs_tests_pass(worker: Worker, project: Path) -> None:
    given = [test["input"] for test in read(project, ".runpod/tests.json")["tests"]]
    for answer in asyncio.run(answers(worker, given)):
        assert set(answer) == {"images"}, answer
        assert len(answer["images"]) == 1


def test_compose_sets_variables_that_there_are(project: Path) -> None:
    service = read(project, "docker-compose.yml")["services"]["worker"]
    assert {name.lower() for name in service["environment"]} <= set(Settings.model_fields)
    assert service["ports"] == ["127.0.0.1:8000:8000"], "strangers do not reach it unless somebody wants that"


def test_workflows_run_scripts_that_there_are(project: Path) -> None:
    for path in (project / ".github" / "workflows").iterdir():
        jobs = yaml.safe_load(path.read_text())["jobs"]
        commands = "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
        for name in re.findall(r"\bscripts/\w+", commands):
            assert os.access(project / name, os.X_OK), name


def test_both_versions_of_comfyui_are_tested_on_each_python(project: Path) -> None:
    matrix = read(project, ".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix == {"python": ["3.11", "3.12", "3.13"], "comfyui": ["0.33.0", "0.3.75"]}


class Health(http.server.BaseHTTPRequestHandler):
    """``/health`` of a server that wants a token."""

    seen: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["Authorization"])
        found = self.path == "/health" and self.headers["Authorization"] == "Bearer secret"
        self.send_response(200 if found else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def health_port() -> Iterator[int]:
    """The port of a ``Health`` server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Health))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.mark.parametrize(
    ("environment", "healthy"),
    [
        ({"SERVE_API_LOCALLY": "true", "LOCAL_API_TOKEN": "secret"}, True),
        ({"SERVE_API_LOCALLY": "True", "LOCAL_API_TOKEN": "wrong"}, False),
        ({"SERVE_API_LOCALLY": "true"}, False),
        ({"SERVE_API_LOCALLY": "false"}, True),
        ({}, True),
    ],
)
def test_the_health_check(project: Path, health_port: int, environment: dict[str, str], healthy: bool) -> None:
    variables = {"PATH": os.environ["PATH"], "LOCAL_API_PORT": str(health_port), **environment}
    check = subprocess.run([project / "scripts" / "image" / "healthcheck"], env=variables, check=False)
    assert (check.returncode == 0) is healthy


def test_the_entry_point_takes_commands_of_the_worker(project: Path, tmp_path: Path) -> None:
    script = project / "scripts" / "image" / "entrypoint"
    done = subprocess.run([script, "printf", "%s,", "editor", "a b"], capture_output=True, text=True, check=True)
    assert done.stdout == "editor,a b,", "another program runs as it is"
    (tmp_path / "start").write_text('#!/bin/sh\nprintf "%s," "$@"\n')
    (tmp_path / "start").chmod(0o755)
    text = script.read_text()
    copy = tmp_path / "entrypoint"
    copy.write_text(text.replace('/start.sh "$@"', f'{tmp_path}/start "$@"'))
    told = subprocess.run(
        [sys.executable, "-m", "worker", "--help"], capture_output=True, text=True, check=True, cwd=project
    )
    commands = re.findall(r"^ {4}(\w+) ", told.stdout.partition("COMMAND")[2], re.MULTILINE)
    assert "editor" in commands
    for command in commands:
        done = subprocess.run(["sh", copy, command, "--listen"], capture_output=True, text=True, check=True)  # noqa: S607
        assert done.stdout == f"{command},--listen,"


def test_the_health_check_of_a_server_that_is_gone(project: Path) -> None:
    variables = {"PATH": os.environ["PATH"], "LOCAL_API_PORT": "9", "SERVE_API_LOCALLY": "true"}
    check = subprocess.run([project / "scripts" / "image" / "healthcheck"], env=variables, check=False)
    assert check.returncode != 0


def test_the_examples_of_images_use_what_the_image_has(project: Path) -> None:
    text = (project / "examples" / "custom-image" / "Dockerfile").read_text()
    provided = [*(path.name for path in (project / "scripts" / "image").iterdir()), "comfy-node-install", "python"]
    commands = re.findall(r"^RUN (?:[A-Z_]+=\S+ )*(\S+)", text, re.MULTILINE)
    assert len(commands) == 3
    assert all(any(fnmatch(command, name) for name in provided) for command in commands)


def test_comfy_node_install_is_ours(project: Path, tmp_path: Path) -> None:
    """With comfy-cli's options left out, which mean nothing here."""
    command = tmp_path / "comfy-node-install"
    command.write_text('#!/bin/sh\nprintf "[%s]" "$@"\n')
    command.chmod(0o755)
    words = [
        "--workspace",
        "/comfyui",
        "--skip-prompt",
        "node",
        "install",
        "--exit-on-fail",
        "--mode",
        "remote",
        "a",
        "--channel=x",
        "b@1 c",
        "--dry-run",
    ]
    words += ["--fast-deps", "--uv-compile"]
    answer = subprocess.run(
        [project / "scripts" / "image" / "comfy", *words],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "[a][b@1 c][--dry-run]"


@pytest.mark.parametrize(("arguments", "code"), [(["offline"], 0), (["public"], 64), ([], 64)])
def test_the_manager_stays_offline(project: Path, arguments: list[str], code: int) -> None:
    command = [str(project / "scripts" / "image" / "comfy-manager-set-mode"), *arguments]
    assert subprocess.run(command, capture_output=True, check=False).returncode == code
