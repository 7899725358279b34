"""A stand-in for RunPod's job API on loopback: hands out jobs, takes results, tells workers to stop, fails on order.

It speaks what the SDK speaks: ``job-take``, ``job-take-batch``, ``job-stop``, ``job-done`` and ``ping``.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Post:
    """One accepted or refused POST of a job's progress or result."""

    job_id: str
    body: dict[str, Any] = field(repr=False)
    size: int
    at: float
    status: int


@dataclass
class JobApi:
    """The API and all it has seen. ``with JobApi() as api``; times are of ``time.monotonic``.

    ``answers``: what to answer the next posts of results with, instead of taking them: an HTTP status, or 0 to cut the
    connection. ``down``: cut every connection. ``odd_answers``: what to answer the next requests for jobs with.
    ``hold_s``: how long a request is held where there is nothing. ``slow_answers_s``, ``slow_jobs_s``: how long a job
    takes until its answer begins, and then until all of it is sent. ``slow_progress_s``: how long a report takes.
    ``keys``: what was asked for, and with which ``Authorization``.
    """

    queue: list[dict[str, Any]] = field(default_factory=list)
    taken: dict[str, float] = field(default_factory=dict)
    posts: list[Post] = field(default_factory=list)
    pings: list[dict[str, list[str]]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    polls: int = 0
    down: bool = False
    slow_progress_s: float = 0.0
    slow_answers_s: float = 0.0
    slow_jobs_s: float = 0.0
    hold_s: float = 20.0
    odd_answers: list[Any] = field(default_factory=list)
    keys: set[tuple[str, str]] = field(default_factory=set)

    def __enter__(self) -> JobApi:
        self.changed = threading.Condition()
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down = True
        with self.changed:
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def environment(self, **more: str) -> dict[str, str]:
        """What the platform sets for a worker."""
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{self.url}/v2/ep/job-take/$ID?gpu=test",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self.url}/v2/ep/job-done/$RUNPOD_POD_ID/$ID?gpu=test",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{self.url}/v2/ep/job-stream/$RUNPOD_POD_ID/$ID?gpu=test",
            "RUNPOD_WEBHOOK_PING": f"{self.url}/v2/ep/ping/$RUNPOD_POD_ID",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_AI_API_KEY": "platform-secret-key",
            "RUNPOD_ENDPOINT_ID": "ep",
            "RUNPOD_POD_ID": "pod-1",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
            "COMFY_ARGS": "--cpu",
            **more,
        }

    def give(self, job_id: str, job_input: Any, **more: Any) -> None:
        """Queue a job."""
        with self.changed:
            self.queue.append({"id": job_id, "input": job_input, **more})
            self.changed.notify_all()

    def stop(self, job_id: str) -> None:
        """Tell the worker to stop a job."""
        with self.changed:
            self.stops.append(job_id)
            self.changed.notify_all()

    def wait(self, what: Callable[[], Any], timeout: float = 30.0) -> Any:
        """Until ``what`` gives something true, which is returned."""
        end = time.monotonic() + timeout
        with self.changed:
            while not (found := what()):
                assert time.monotonic() < end, f"this did not happen in {timeout} s: {what}; posts: {self.posts}"
                self.changed.wait(0.05)
        return found

    def result(self, job_id: str, timeout: float = 30.0) -> dict[str, Any]:
        """The result of a job, waited for."""
        found: list[Post] = self.wait(lambda: self.results(job_id), timeout)
        return found[0].body

    def results(self, job_id: str) -> list[Post]:
        """The results that were taken for a job."""
        return [p for p in self.posts if p.job_id == job_id and p.status == 200 and "status" not in p.body]

    def progress(self, job_id: str) -> list[Post]:
        """The progress that a job reported, in order of arrival."""
        return [p for p in self.posts if p.job_id == job_id and p.body.get("status") == "IN_PROGRESS"]

    def lost(self) -> set[str]:
        """Jobs that were handed out and have no result."""
        return {job_id for job_id in self.taken if not self.results(job_id)}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut on order is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # One packet an answer.
    api: JobApi

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name.
        pass

    def do_GET(self) -> None:
        if self.api.down:
            return self._cut()
        parts = urlsplit(self.path)
        query, what = parse_qs(parts.query), parts.path.split("/")[3]
        self.api.keys.add((what, self.headers.get("Authorization", "")))
        if what == "ping":
            with self.api.changed:
                self.api.pings.append(query)
                self.api.changed.notify_all()
            return self._send(200, {})
        if what == "job-stop":
            stops = self._long_poll(self._take_stops)
            return self._send(200, {"jobsToStop": stops}) if stops else self._send(204)
        self.api.polls += 1
        if self.api.odd_answers:
            return self._send(200, self.api.odd_answers.pop(0))
        size = int(query.get("batch_size", ["1"])[0])
        jobs = self._long_poll(lambda: self._take_jobs(size))
        if not jobs:
            return self._send(204)
        time.sleep(self.api.slow_answers_s)
        return self._send(200, jobs if what == "job-take-batch" else jobs[0])

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        is_progress = body.get("status") == "IN_PROGRESS"
        if is_progress and self.api.slow_progress_s:
            time.sleep(self.api.slow_progress_s)
        with self.api.changed:
            status = 200
            if self.api.down:
                status = 0
            elif self.api.answers and not is_progress:
                status = self.api.answers.pop(0)
            job_id = urlsplit(self.path).path.split("/")[-1]
            self.api.posts.append(Post(job_id, body, len(raw), time.monotonic(), status))
            self.api.changed.notify_all()
        if status == 0:
            return self._cut()
        return self._send(status, {})

    def _take_stops(self) -> list[str]:
        stops, self.api.stops = self.api.stops, []
        return stops

    def _take_jobs(self, size: int) -> list[dict[str, Any]]:
        jobs, self.api.queue = self.api.queue[:size], self.api.queue[size:]
        self.api.taken |= {job["id"]: time.monotonic() for job in jobs}
        return jobs

    def _long_poll(self, take: Callable[[], list[Any]]) -> list[Any]:
        """Hold the request until there is something; a worker that has gone gets nothing."""
        end = time.monotonic() + self.api.hold_s
        while time.monotonic() < end and not self.api.down:
            with self.api.changed:
                if self._gone():
                    return []
                if found := take():
                    self.api.changed.notify_all()
                    return found
                self.api.changed.wait(0.02)
        return []

    def _gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _send(self, status: int, content: Any = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.api.slow_jobs_s and "/job-take" in self.path:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(self.api.slow_jobs_s)
            body = body[len(body) // 2 :]
        self.wfile.write(body)
        self.wfile.flush()

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
