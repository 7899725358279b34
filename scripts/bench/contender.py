"""A contender: one way to run ComfyUI's workflows, in fresh processes."""

from __future__ import annotations

import json
import os
import shlex
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
from comfy_server import free_port

from bench.cases import Request
from bench.process import Child, ContenderFailed
from worker.settings import Settings

EMBEDDED, WEBSOCKET, KNOWN, BARE = "embedded", "websocket", "known", "bare"
_KNOWN_PORT = 8188
_START_S, _JOB_S = 300, 1800
# Whatever the user's worker does with buckets and jobs of the platform, the benchmark's runs stay on this machine.
_LEFT_OUT = ("BUCKET_", "RUNPOD_", "COMFY_BACKEND", "COMFY_HOST", "SAVE_METADATA", "OUTPUT_", "MAX_RESPONSE_MB")


@dataclass(frozen=True)
class Place:
    """What all contenders share.

    Attributes:
        settings: the environment's.
        base: the base directory.
        models: a folder with further models.
        folder: where logs go.
        known: checkout of the public worker-comfyui.
    """

    settings: Settings
    base: Path
    models: Path | None
    folder: Path
    known: Path | None

    def flags(self) -> tuple[str, ...]:
        """ComfyUI's flags, but for those that all of them get anyway."""
        if self.models is None:
            return self.settings.comfy_args
        config = self.folder / "model_paths.yaml"
        paths = {path.name: path.name for path in self.models.iterdir()}
        config.write_text(json.dumps({"benchmark": {"base_path": str(self.models), **paths}}))  # YAML, too.
        return (*self.settings.comfy_args, "--extra-model-paths-config", str(config))


@dataclass(frozen=True)
class StartUp:
    """A start. ``began`` is a time of ``time.monotonic``; ``steps`` are seconds, one after the other."""

    began: float
    steps: dict[str, float]
    device: str | None


@dataclass(frozen=True)
class Run:
    """One job: milliseconds from the job's dict to the answer's dict, inside the contender's process, and its sizes.

    ``loopback_bytes`` is what the whole machine sent over loopback meanwhile; None where that cannot be known.
    """

    ms: float
    request_bytes: int
    answer_bytes: int
    loopback_bytes: int | None
    images: int
    files: int


class Contender:
    """Starts with ``start``, ends on leaving ``with``.

    Args:
        name: ``EMBEDDED``, ``WEBSOCKET`` or ``KNOWN``.
        place: where it runs.
    """

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self._place = place
        self._log = place.folder / f"{name}.log"
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
        """Whether its processes live."""
        return all(child is None or child.is_running for child in (self._child, self._server))

    def pids(self) -> dict[str, int]:
        """Its processes: ``worker``, and ``server`` where there is one."""
        worker = {"worker": self._child.pid} if self._child else {}
        return worker | ({"server": self._server_pid} if self._server_pid else {})

    def begin(self) -> Self:
        """Start its processes, all at the same moment, and return at once."""
        port = 0
        if self.name != EMBEDDED:
            port = _known_port() if self.name == KNOWN else free_port()
            level = self._place.settings.quiet().comfy_log_level
            flags = ("--disable-metadata", "--verbose", level, *self._place.flags())
            self._server = Child(
                "bench.server", [str(self._place.base), str(port), *flags], self._environment(port),
                self._place.folder / f"{self.name}-server.log",
            )  # fmt: skip
            self._server.receive(_START_S)
        self._began = time.monotonic()
        if self._server:
            self._server.send({"start": True})
        known = [str(self._place.known)] if self.name == KNOWN else []
        self._child = Child("bench.child", known, self._environment(port), self._log)
        return self

    def ready(self) -> StartUp:
        """Wait until it can take a job.

        Raises:
            ContenderFailed: it cannot start.
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
            steps = {"server": up, "handler": max(0.0, ready - up)}
        else:
            timings = opened["timings"]
            steps = {"process": opened["imported"] - self._began, "core": timings["core"], "nodes": timings["nodes"]}
            steps["rest"] = ready - sum(steps.values())
        return StartUp(self._began, steps, opened.get("device"))

    def start(self) -> StartUp:
        """``begin`` and ``ready``."""
        return self.begin().ready()

    def run(self, request: Request, way: str = "handler", just_before: Request | None = None) -> Run:
        """Run one job.

        Args:
            request: its input.
            way: ``bare``: with the bare executor of the embedded contender's process.
            just_before: a job like it, which is run right before it and not measured.

        Raises:
            ContenderFailed: the job failed, or the contender did.
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

    def _environment(self, port: int) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
        kept |= {
            "COMFY_BASE_DIR": str(self._place.base),
            "COMFY_ARGS": shlex.join(self._place.flags()),
            "COMFY_LOG_LEVEL": self._place.settings.quiet().comfy_log_level,
            "COMFY_BACKEND": EMBEDDED if self.name == EMBEDDED else WEBSOCKET,
        }
        return kept if self.name == EMBEDDED else kept | {"COMFY_HOST": f"127.0.0.1:{port}"}


def _known_port() -> int:
    try:
        with socket.create_server(("127.0.0.1", _KNOWN_PORT)):
            return _KNOWN_PORT
    except OSError:
        raise ContenderFailed(f"port {_KNOWN_PORT} is taken, and it talks to no other") from None


def _loopback_bytes() -> int | None:
    loopback = psutil.net_io_counters(pernic=True).get("lo")
    return loopback.bytes_sent if loopback else None
