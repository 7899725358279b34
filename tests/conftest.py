"""Fixtures: one real ComfyUI in this process for all tests, with the test node pack and a small checkpoint."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pictures
import pytest
from comfy_server import ComfyServer
from cutting_proxy import CuttingProxy
from runpod_worker import Start, runpod_worker

from worker import Settings, Worker
from worker.settings import load_settings

PROJECT = Path(__file__).resolve().parents[1]

# Most tests compare whole answers, and no two have the same times. Those of metrics set it.
os.environ.setdefault("REPORT_METRICS", "off")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    from worker.embedded.start.device import cuda_device_count

    if any(item.get_closest_marker("gpu") for item in items) and not cuda_device_count():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and the driver shows none"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that are marked with ``backends("embedded", "websocket")`` once with the worker of each."""
    marker = metafunc.definition.get_closest_marker("backends")
    if marker is not None and "worker" in metafunc.fixturenames:
        metafunc.parametrize("worker", marker.args, indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured lines: one process of pytest cannot send them to another."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory with the test node pack; models are put in by those who need them."""
    base = tmp_path_factory.mktemp("base")
    for name in ("models/checkpoints", "custom_nodes", "input"):
        (base / name).mkdir(parents=True)
    shutil.copytree(PROJECT / "tests" / "nodes", base / "custom_nodes" / "test_nodes")
    return base


@pytest.fixture(scope="session")
def tiny_checkpoint(base_dir: Path) -> Path:
    """The small Stable Diffusion checkpoint, among the models."""
    path = base_dir / "models" / "checkpoints" / "tiny-sd.safetensors"
    subprocess.run([PROJECT / "scripts" / "make_tiny_checkpoint", "--out", path], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network volume with a node pack; models are put in by those who need them."""
    folder = tmp_path_factory.mktemp("runpod-volume")
    shutil.copytree(PROJECT / "tests" / "volume_nodes", folder / "custom_nodes" / "volume_nodes")
    return folder


@pytest.fixture(scope="session")
def settings(base_dir: Path, volume: Path) -> Settings:
    """The settings of ``worker``."""
    places = {"comfy_base_dir": base_dir, "network_volume_path": volume, "volume_custom_nodes": True}
    return load_settings().model_copy(update={**places, "comfy_log_level": "WARNING"})


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> Worker:
    """The worker that tests share: the embedded one, or of which backend the marker ``backends`` says."""
    found: Worker = request.getfixturevalue(f"{getattr(request, 'param', 'embedded')}_worker")
    return found


@pytest.fixture(scope="session")
def embedded_worker(settings: Settings) -> Iterator[Worker]:
    """ComfyUI in this process; a process can start it once."""
    with Worker(settings) as open_worker:
        yield open_worker


@pytest.fixture(scope="session")
def comfy_server(base_dir: Path) -> Iterator[ComfyServer]:
    """A stock ComfyUI server, with the same nodes and models."""
    with ComfyServer(base_dir, ["--disable-metadata", "--preview-method", "latent2rgb"]) as server:
        yield server


@pytest.fixture(scope="session")
def websocket_worker(settings: Settings, comfy_server: ComfyServer) -> Iterator[Worker]:
    """A worker that is a client of the stock server."""
    update = {"comfy_backend": "websocket", "comfy_host": comfy_server.host, "websocket_reconnect_delay_s": 0.5}
    with Worker(settings.model_copy(update=update)) as open_worker:
        yield open_worker


@pytest.fixture
def proxy(comfy_server: ComfyServer) -> Iterator[CuttingProxy]:
    """A proxy before the stock server."""
    with CuttingProxy(comfy_server.host) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def command(base_dir: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``python -m worker ARGUMENTS`` as a process of its own, on the tests' base directory."""

    def run(*arguments: str | Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "worker", *map(str, arguments)],
            cwd=PROJECT,
            env=os.environ | {"COMFY_BASE_DIR": str(base_dir)} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def start(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts a worker for RunPod's stand-in: ``with start(VARIABLE="…") as process``."""
    return lambda *prefix, **options: runpod_worker(
        base_dir, PROJECT, tmp_path_factory.mktemp("serve"), *prefix, **options
    )


@pytest.fixture(scope="session")
def as_client(comfy_server: ComfyServer) -> dict[str, str]:
    """Variables that make a worker a client of the stock server.

    Such a process starts in one second, because it loads no ComfyUI; with ComfyUI it takes eight. So tests of commands,
    signals and answers that are the same for both backends use it.
    """
    return {"COMFY_BACKEND": "websocket", "COMFY_HOST": comfy_server.host}


@pytest.fixture(params=["websocket", pytest.param("embedded", marks=pytest.mark.full)])
def start_either(request: pytest.FixtureRequest, start: Start) -> Start:
    """``start`` for tests that must pass with both backends. The short form has the quicker one."""
    variables = request.getfixturevalue("as_client") if request.param == "websocket" else {}
    return lambda *prefix, **options: start(*prefix, **{**variables, **options})


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Makes a PNG of one colour: ``png(color, size)``."""
    return pictures.png


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes a connection and says nothing for four seconds; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                time.sleep(4)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
