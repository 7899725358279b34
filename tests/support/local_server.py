"""``python -m worker`` as a local API, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from comfy_server import free_port


@contextlib.contextmanager
def local_server(project: Path, base_dir: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A local API on a free port: the process and its address, which need not answer yet."""
    port = free_port()
    variables = {"COMFY_BASE_DIR": str(base_dir), "SERVE_API_LOCALLY": "true", "COMFY_LOG_LEVEL": "WARNING"}
    process = subprocess.Popen(
        [sys.executable, "-m", "worker"],
        cwd=project,
        env=os.environ | variables | {"LOCAL_API_HOST": "127.0.0.1", "LOCAL_API_PORT": str(port)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that runs these tests in the background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def until_it_listens(url: str) -> None:
    """Until a connection is taken, which is before ComfyUI has started."""
    host, port = url.removeprefix("http://").split(":")
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens at {url}")
