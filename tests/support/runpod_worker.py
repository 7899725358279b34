"""The worker as a process of its own, at work for the stand-in of RunPod's job API."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import psutil
from runpod_api import JobApi

Start = Callable[..., contextlib.AbstractContextManager["WorkerProcess"]]


class WorkerProcess:
    """``python -m worker`` at work for ``api``; its log is in a file."""

    def __init__(self, api: JobApi, process: subprocess.Popen[bytes], log: Path) -> None:
        self.api = api
        self.process = process
        self._log = log

    def log(self) -> str:
        """All that it has printed."""
        return self._log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Its log lines; every one must be JSON."""
        return [json.loads(line) for line in self.log().splitlines()]

    def children(self) -> list[psutil.Process]:
        """Its child processes."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, timeout: float = 20) -> int:
        """Its exit code, waited for."""
        return self.process.wait(timeout)


@contextlib.contextmanager
def runpod_worker(
    base_dir: Path, project: Path, folder: Path, *prefix: str, wait: bool = True, **environment: str
) -> Iterator[WorkerProcess]:
    """Start a worker, by default until it asks for jobs. ``prefix``: a command before it; ``folder``: for its log."""
    log = folder / "log"
    with JobApi() as api, log.open("wb") as stream:
        variables = {"COMFY_BASE_DIR": str(base_dir), "COMFY_LOG_LEVEL": "INFO", **api.environment(**environment)}
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "worker"],
            cwd=project,
            env=os.environ | variables,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            if wait:
                api.wait(lambda: api.polls or process.poll() is not None, 90)
                assert process.poll() is None, log.read_text()
            yield WorkerProcess(api, process, log)
        finally:
            process.kill()
            process.wait()


def sleeping(seconds: float) -> dict[str, Any]:
    """A job's input that takes ``seconds`` and can be interrupted."""
    return {"workflow": graphs.through("TestSleeps", steps=round(seconds * 50))}
