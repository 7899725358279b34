"""The client programs in examples/clients/, as processes, against the real local server."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import graphs
import pytest
import requests
from comfy_server import free_port
from local_api import serving
from PIL import Image
from pydantic import SecretStr
from s3_server import KEYS, s3_server, stored

from worker import Worker

NEEDED = {"curl.sh": ("curl", "jq"), "with_fetch.mjs": ("node",), "with_runpod_sdk.mjs": ("node", "npm")}
BUCKET = {
    "bucket_access_key_id": SecretStr(KEYS["aws_access_key_id"]),
    "bucket_secret_access_key": SecretStr(KEYS["aws_secret_access_key"]),
}


@dataclass(frozen=True)
class Client:
    """A client program. ``command`` starts it."""

    name: str
    command: tuple[str, ...]
    folder: Path

    def start(self, url: str, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """The program with ``arguments``, at the endpoint ``url``."""
        return subprocess.Popen(
            [*self.command, *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"ENDPOINT_URL": url} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs these tests in the background has them ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, url: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """The same, to its end. It never shows where in its code it was."""
        with self.start(url, *arguments, **environment) as process:
            out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        assert "    at " not in err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def clients(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the programs, where npm may install."""
    folder = tmp_path_factory.mktemp("clients")
    shutil.copytree(project / "examples" / "clients", folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(
    params=["curl.sh", "with_requests.py", "with_runpod.py", "with_fetch.mjs", "with_runpod_sdk.mjs"], scope="module"
)
def client(request: pytest.FixtureRequest, clients: Path) -> Client:
    """Each program in turn, where it can run."""
    name = request.param
    missing = [program for program in NEEDED.get(name, ()) if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{name} needs {' and '.join(missing)}")
    if name == "with_runpod_sdk.mjs":
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]
        subprocess.run(install, cwd=clients, check=True, timeout=120)
    starter = {".sh": "bash", ".py": sys.executable, ".mjs": "node"}[Path(name).suffix]
    return Client(name, (starter, str(clients / name)), clients)


@pytest.fixture(scope="module")
def url(worker: Worker) -> Iterator[str]:
    """A local server's endpoint."""
    with serving(worker) as address:
        yield f"{address}/v2/any"


@pytest.fixture
def workflow(tmp_path: Path) -> Callable[[graphs.Graph], Path]:
    """Writes a workflow into a file."""

    def write(graph: graphs.Graph) -> Path:
        path = tmp_path / "workflow.json"
        path.write_text(json.dumps(graph))
        return path

    return write


@pytest.fixture
def photo(tmp_path: Path, png: Callable[..., bytes]) -> Path:
    """A picture of one colour."""
    path = tmp_path / "photo = 1.png"
    path.write_bytes(png("#204060"))
    return path


def check_picture(path: Path) -> None:
    """See that it is the photograph, scaled."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    assert (image.format, image.size, image.getpixel((256, 256))) == ("PNG", (512, 512), (0x20, 0x40, 0x60))


def test_a_picture_goes_and_comes(client: Client, url: str, project: Path, tmp_path: Path, photo: Path) -> None:
    results = tmp_path / "new" / "results"
    arguments = project / "examples" / "scale.json", results, f"in.png={photo}"
    for name in ("scaled_00001_.png", "scaled_00001_-2.png"):
        ran = client.run(url, *arguments)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.splitlines() == [str(results / name)], "nothing is overwritten"
        check_picture(results / name)


def test_progress_is_shown(client: Client, url: str, workflow: Callable[..., Path], tmp_path: Path) -> None:
    ran = client.run(url, workflow(graphs.through("TestSleeps", steps=130)), tmp_path)
    assert ran.returncode == 0, ran.stderr
    shown = [line for line in ran.stderr.splitlines() if line.startswith("IN_PROGRESS ")]
    assert any(" % TestSleeps (3): step " in line for line in shown), ran.stderr


def test_a_failed_job(client: Client, url: str, workflow: Callable[..., Path], tmp_path: Path) -> None:
    ran = client.run(url, workflow(graphs.through("TestRaises")), tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    *_, details, error = ran.stderr.splitlines()
    assert details.startswith("Workflow execution error: Node Type: TestRaises, Node ID: 3, Message: ")
    assert error == "FAILED: Job processing failed"


def test_errors_beside_what_came(client: Client, url: str, workflow: Callable[..., Path], tmp_path: Path) -> None:
    graph = graphs.solid() | {
        "5": graphs.node("TestShowsText", text="hello"),
        "6": graphs.node("TestSavesFile", key="gifs", subfolder="v", filename="a.mp4", content="movie"),
        "7": graphs.node("SaveImage", filename_prefix="lost"),
    }
    ran = client.run(url, workflow(graph), tmp_path)
    assert ran.returncode == 0
    assert [Path(line).name for line in ran.stdout.splitlines()] == ["ComfyUI_00001_.png", "a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"movie"
    assert "Output dropped by validation: Node 7 (SaveImage) images: this input is required and missing" in ran.stderr
    assert "node 5: hello" in ran.stderr


def test_wrong_arguments(client: Client, url: str, workflow: Callable[..., Path], tmp_path: Path) -> None:
    graph = workflow(graphs.solid())
    (tmp_path / "broken.json").write_text("{")
    wrong: list[tuple[str | Path, ...]] = [
        (),
        (graph,),
        (tmp_path / "none.json", tmp_path),
        (tmp_path / "broken.json", tmp_path),
        (graph, tmp_path, "in.png"),
        (graph, tmp_path, "in.png=none.png"),
    ]
    # The programs with an SDK start slowly, and read their arguments as the other program in their language does.
    for arguments in wrong[:1] if "runpod" in client.name else wrong:
        ran = client.run(url, *arguments)
        assert (ran.returncode, ran.stdout) == (2, ""), ran.stderr
        assert ran.stderr
    told = client.run(url, "--help")
    assert told.returncode == 0
    assert "ENDPOINT_URL     https://api.runpod.ai/v2/<endpoint>" in told.stdout
    assert "examples/scale.json results in.png=photo.png" in told.stdout


@pytest.mark.parametrize(
    "client",
    [
        *("curl.sh", "with_requests.py", "with_fetch.mjs", "with_runpod_sdk.mjs"),
        # RunPod's SDK tries for half a minute. A wrong key is told by the same lines of this program.
        pytest.param("with_runpod.py", marks=pytest.mark.full),
    ],
    indirect=True,
)
def test_nobody_answers(client: Client, workflow: Callable[..., Path], tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v2/any"
    ran = client.run(url, workflow(graphs.solid()), tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert url in ran.stderr


def test_ctrl_c_cancels_the_job(client: Client, url: str, workflow: Callable[..., Path], tmp_path: Path) -> None:
    def running() -> int:
        return int(requests.get(f"{url}/health", timeout=10).json()["jobs"]["inProgress"])

    with client.start(url, workflow(graphs.through("TestSleeps", steps=5000)), tmp_path) as process:
        end = time.monotonic() + 20
        while "IN_PROGRESS" not in (process.stderr.readline() if process.stderr else ""):
            assert time.monotonic() < end
        assert running() == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    end = time.monotonic() + 5
    while running():
        assert time.monotonic() < end, "the job was not cancelled"
        time.sleep(0.05)


@pytest.fixture
def guarded(worker: Worker) -> Iterator[tuple[str, str]]:
    """The endpoint of a server that wants a token and has a bucket, and the bucket's server."""
    with s3_server() as s3:
        bucket = {**BUCKET, "bucket_endpoint_url": f"{s3}/pictures"}
        with serving(worker, local_api_token=SecretStr("sesame"), **bucket) as address:
            yield f"{address}/v2/any", s3


def test_a_key_is_needed_and_urls_are_fetched(
    client: Client, guarded: tuple[str, str], project: Path, tmp_path: Path, photo: Path
) -> None:
    url, s3 = guarded
    arguments = project / "examples" / "scale.json", tmp_path, f"in.png={photo}"
    refused = client.run(url, *arguments, RUNPOD_API_KEY="wrong")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "401" in refused.stderr
    before = len(stored(s3))
    ran = client.run(url, *arguments, RUNPOD_API_KEY="sesame")
    assert ran.returncode == 0, ran.stderr
    check_picture(Path(ran.stdout.strip()))
    assert len(stored(s3)) == before + 1
