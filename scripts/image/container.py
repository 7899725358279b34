"""Runs a container of an image in buildah's store, as RunPod would.

It uses ``unshare`` and ``chroot``. The container has a PID namespace of its own, so that the entry point is process 1
as on RunPod. It shares this machine's network, so that it can be reached on loopback.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_S = 180.0


class CheckFailed(Exception):
    """A check failed. The text says what is wrong."""


def buildah(*arguments: str, timeout: float = 600) -> str:
    """Run buildah. Returns what it prints."""
    command = ["buildah", "--storage-driver", "overlay", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    if done.returncode != 0:
        raise CheckFailed(f"buildah {arguments[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


class Container:
    """A container of ``image``. ``root`` is the folder of its file system on this machine."""

    def __init__(self, image: str) -> None:
        self.name = buildah("from", "--pull=never", image).split()[-1]
        self.root = Path(buildah("mount", self.name).strip())
        config = json.loads(buildah("inspect", self.name))["Docker"]["config"]
        self.environment = dict(entry.split("=", 1) for entry in config["Env"])
        self.entrypoint: list[str] = config.get("Entrypoint") or []
        self.command: list[str] = config["Cmd"]

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        buildah("rm", self.name)

    def start(self, log: Path, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start ``command``, or the image's own command. Its output goes to ``log``."""
        mounts = "mount --rbind /dev dev; mount -t proc proc proc; mount --rbind /sys sys; cp /etc/resolv.conf etc/"
        words = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private", "--"]
        words += ["sh", "-c", f'cd "$0" && {mounts}; exec chroot . /usr/bin/env -i "$@"', str(self.root)]
        variables = {"HOME": "/root", **self.environment, **environment}
        words += [f"{name}={value}" for name, value in variables.items()]
        with log.open("wb") as file:
            program = [*self.entrypoint, *(command or self.command)]
            return subprocess.Popen([*words, *program], stdout=file, stderr=subprocess.STDOUT)

    def run(self, *command: str, timeout: float = 300, **environment: str) -> tuple[int, str]:
        """Run a command to its end. Returns its exit code and its output."""
        with tempfile.NamedTemporaryFile() as log:
            process = self.start(Path(log.name), *command, **environment)
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            return code, Path(log.name).read_text(errors="replace")


@contextlib.contextmanager
def serving(container: Container, log: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run the entry point with the local API on loopback. Once it answers, yields its process and address."""
    port = free_port()
    address = {"LOCAL_API_HOST": "127.0.0.1", "LOCAL_API_PORT": str(port)}
    process = container.start(log, SERVE_API_LOCALLY="true", COMFY_LOG_LEVEL="INFO", **address, **environment)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CheckFailed(f"the local API does not answer:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run_job(address: str, request: dict[str, Any]) -> tuple[bytes, float]:
    """Send a job. Returns the first image of its answer, and the seconds that the answer took."""
    start = time.monotonic()
    body = json.dumps(request).encode()
    post = urllib.request.Request(f"{address}/runsync", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(post, timeout=START_S) as response:  # noqa: S310 - loopback.
        answer = json.load(response)
    if answer.get("status") != "COMPLETED" or not answer["output"].get("images"):
        raise CheckFailed(f"the job was answered with {json.dumps(answer)[:500]}")
    image = base64.b64decode(answer["output"]["images"][0]["data"])
    if not image.startswith(b"\x89PNG\r\n\x1a\n"):
        raise CheckFailed("the job's image is no PNG")
    return image, time.monotonic() - start
