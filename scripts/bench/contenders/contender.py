"""``Contender``: starts one way to run workflows in fresh processes, and runs jobs with it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
from comfy_server import free_port

from bench.contenders.process import PROJECT, Child, ContenderFailed
from bench.contenders.setup import EMBEDDED, WEBSOCKET, Setup
from bench.workload.cases import Request

KNOWN, AGAINST, BARE = "known", "against", "bare"
_KNOWN_PORT = 8188
_START_S, _JOB_S = 300, 1800


@dataclass(frozen=True)
class StartUp:
    """A start. ``began``: when, by ``time.monotonic``. ``steps``: the seconds of each step, in their order."""

    began: float
    steps: dict[str, float]


@dataclass(frozen=True)
class Run:
    """One job: milliseconds from the job's dict to the answer's dict, inside the contender's process, and its sizes.

    ``loopback_bytes``: bytes that the whole machine sent over loopback during the job; None if that is not known.
    """

    ms: float
    request_bytes: int
    answer_bytes: int
    loopback_bytes: int | None
    images: int
    files: int


class Contender:
    """One way to run jobs. Its processes begin with ``start``, and end with the ``with`` block.

    Args:
        name: ``EMBEDDED``, ``WEBSOCKET``, ``AGAINST`` or ``KNOWN``.
        setup: what all contenders share.
        variables: further variables of its processes' environment.
    """

    def __init__(self, name: str, setup: Setup, **variables: str) -> None:
        self.name = name
        self._setup = setup
        self._variables = {**(setup.against_env if name == AGAINST else {}), **variables}
        self._project = setup.against if name == AGAINST and setup.against else PROJECT
        self._server: Child | None = None
        self._child: Child | None = None
        self._server_pid = 0
        self._began = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in (self._child, self._server):
            if child is not None:
                child.close()

    @property
    def is_running(self) -> bool:
        """Whether none of its processes has ended."""
        return all(child is None or child.is_running for child in (self._child, self._server))

    def pids(self) -> dict[str, int]:
        """The ids of its processes: ``worker``, and ``server`` if there is one."""
        worker = {"worker": self._child.pid} if self._child else {}
        return worker | ({"server": self._server_pid} if self._server_pid else {})

    def begin(self) -> Self:
        """Start its processes, all at the same moment, and return at once."""
        setup, environment = self._setup, self._setup.environment(EMBEDDED, **self._variables)
        if self.name in (WEBSOCKET, KNOWN):
            port = _known_port() if self.name == KNOWN else free_port()
            environment = setup.environment(WEBSOCKET, COMFY_HOST=f"127.0.0.1:{port}")
            flags = ("--disable-metadata", "--verbose", environment["COMFY_LOG_LEVEL"], *setup.flags())
            self._server = Child(
                "bench.contenders.server", [str(setup.comfyui.base), str(port), *flags], environment,
                setup.folder / f"{self.name}-server.log",
            )  # fmt: skip
            self._server.receive(_START_S)
        self._began = time.monotonic()
        if self._server:
            self._server.send({"start": True})
        known = [str(setup.known)] if self.name == KNOWN else []
        log = setup.folder / f"{self.name}.log"
        self._child = Child("bench.contenders.child", known, environment, log, self._project)
        return self

    def ready(self) -> StartUp:
        """Wait until the contender can take a job.

        Raises:
            ContenderFailed: the contender cannot start.
        """
        if self._child is None:
            raise RuntimeError("begin() comes first")
        up = 0.0
        if self._server:
            self._server_pid = self._server.receive(_START_S)["pid"]
            up = self._server.receive(_START_S)["up"] - self._began
        opened = self._child.receive(_START_S)
        ready = opened["opened"] - self._began
        if self._server:
            return StartUp(self._began, {"server": up, "handler": max(0.0, ready - up)})
        self._check_origin(opened)
        return StartUp(self._began, self._embedded_steps(opened, ready))

    def _check_origin(self, opened: Mapping[str, Any]) -> None:
        """Check which checkout its process imported. Otherwise a checkout could be compared with itself."""
        if Path(opened["worker"]) != self._project.resolve() / "worker":
            raise ContenderFailed(f"its process imported {opened['worker']} instead of {self._project}/worker")

    def _embedded_steps(self, opened: Mapping[str, Any], ready: float) -> dict[str, float]:
        """The seconds until ``ready``, by step. An older checkout may not have measured every step."""
        steps = {"interpreter": opened["began"] - self._began, "worker": opened["imported"] - opened["began"]}
        for name, seconds in opened["steps"].items():
            shown = "packs" if name.startswith("pack ") else name
            steps[shown] = steps.get(shown, 0.0) + seconds
        return {**steps, "rest": ready - sum(steps.values())}

    def start(self) -> StartUp:
        """Call ``begin``, then ``ready``."""
        return self.begin().ready()

    def run(self, request: Request, way: str = "handler", just_before: Request | None = None) -> Run:
        """Run one job.

        Args:
            request: the job's input.
            way: ``handler``, or ``bare`` for the bare executor in the embedded contender's process.
            just_before: a similar job, which is run right before this one and is not measured.

        Raises:
            ContenderFailed: the job or the contender failed.
        """
        if self._child is None:
            raise RuntimeError("begin() comes first")
        jobs = [{"id": "benchmark", "input": each} for each in (just_before, request) if each is not None]
        before = _loopback_bytes()
        self._child.send({"way": way, "jobs": jobs})
        answer = self._child.receive(_JOB_S)
        after = _loopback_bytes()
        if not answer["files"]:
            raise ContenderFailed("the job gave no file")
        moved = None if before is None or after is None else (after - before) // len(jobs)
        sizes = {name: answer[name] for name in ("answer_bytes", "images", "files")}
        return Run(answer["ms"], len(json.dumps(jobs[-1])), loopback_bytes=moved, **sizes)


def _known_port() -> int:
    try:
        with socket.create_server(("127.0.0.1", _KNOWN_PORT)):
            return _KNOWN_PORT
    except OSError:
        raise ContenderFailed(f"port {_KNOWN_PORT} is taken, and it talks to no other") from None


def _loopback_bytes() -> int | None:
    loopback = psutil.net_io_counters(pernic=True).get("lo")
    return loopback.bytes_sent if loopback else None
