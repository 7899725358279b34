"""Answers jobs in the heartbeat process, in place of a worker that stands still and will be ended, or has crashed.

The worker's own process cannot answer then, since a node may hold Python's lock. Without an answer, the platform would
give the job to the next worker, which would stand still as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import requests

from worker.answer.delivery import Delivery, make_answer
from worker.answer.outputs import collect, path_inside
from worker.answer.reply import MB, Reply, encode
from worker.engine.graph_run import GraphRun, RunResult
from worker.engine.workspace import StateFolder, Workspace
from worker.errors import DeviceFailed, JobFroze, WorkerError
from worker.logs import job_lines
from worker.redact import encodable
from worker.runpod.board import Board
from worker.runpod.job_slot import SeenJob
from worker.runpod.result_post import UNKNOWN_JOB, answer_limit_mb, is_transient, more_keys, post_headers, post_url
from worker.runpod.sdk import get_auth_header
from worker.runpod.standby.crash import CrashReport
from worker.settings import Settings

_LEAD_S = 10.0  # How long before the worker's end its jobs are answered.
_LOOK_S = 0.5
_POST_S = 5.0  # For one try.
_TRIES_S = 600.0  # The worker may go on after all.
_AROUND = 2000  # Bytes of an answer without its files.
_AROUND_FILE = 500
_log = logging.getLogger("worker")


class LastWord:
    """Looks at the worker twice a second.

    Args:
        board: what the worker tells about itself.
        settings: the worker's.
        state: the worker's folder, where it has the files that a job has saved.
        crash: tells when the worker crashes.
    """

    def __init__(self, board: Board, settings: Settings, state: StateFolder, crash: CrashReport) -> None:
        self._board, self._settings, self._state, self._crash = board, settings, state, crash
        self._crashed: signal.Signals | None = None
        self._lead_s = min(_LEAD_S, settings.freeze_timeout_s / 2)
        self._worker = os.getpid()
        self._headers = get_auth_header()
        self._ticks, self._still_s = 0, 0.0
        self._answered: set[int] = set()

    def watch(self) -> None:
        """Look until this process ends. It dies with the worker."""
        looked = time.monotonic()
        while True:
            crashed = self._crash.wait(_LOOK_S)
            now = time.monotonic()
            try:
                if crashed is not None and self._crashed is None:
                    self._hear_of_crash(crashed)
                # A pause of the whole container is no time in which the worker stood still.
                self._look(min(now - looked, 2 * _LOOK_S))
            except Exception:  # noqa: BLE001 - the thread must go on.
                _log.exception("The heartbeat process cannot look after the worker")
            looked = now

    def _look(self, seconds: float) -> None:
        ticks, has_timer = self._board.ticks, self._board.ends_at > 0
        self._still_s = self._still_s + seconds if ticks == self._ticks else 0.0
        self._ticks = ticks
        if ticks and self._is_due():
            self._answer_jobs()
        if ticks and not has_timer and self._still_s > self._settings.freeze_timeout_s:
            _log.critical("The worker is ended, since it stood still for %.0f s (FREEZE_TIMEOUT_S)", self._still_s)
            os.kill(self._worker, signal.SIGQUIT)

    def _is_due(self) -> bool:
        """Whether the worker's end is near. Its timer is not set if it has no job, or if it can start no thread."""
        ends_at = self._board.ends_at
        if ends_at:
            return time.monotonic() >= ends_at - self._lead_s
        return self._board.ticks == self._ticks and self._still_s >= self._settings.freeze_timeout_s - self._lead_s

    def _answer_jobs(self) -> None:
        """Answer the job whose graph runs, or after which the device broke. If none does, every job may be at fault."""
        jobs = self._board.seen()
        for job in [job for job in jobs if job.runs or job.fault] or jobs:
            if job.number in self._answered:
                continue
            with job_lines(job.job_id):
                self._answer(job)

    def _hear_of_crash(self, crashed: signal.Signals) -> None:
        """Answer the job that has crashed the worker, if the device may be broken. Otherwise it is run once more.

        Jobs that have nothing to do with it get no answer here, so that RunPod gives them to another worker.
        """
        self._crashed = crashed
        if self._board.has_device:
            for job in self._board.seen():
                if (job.runs or job.fault) and job.number not in self._answered:
                    with job_lines(job.job_id):
                        self._answer(job)
        _log.critical("The worker has crashed (%s). Its threads:\n%s", crashed.name, self._crash.stacks)

    def _error(self, job: SeenJob) -> WorkerError:
        """What the caller of ``job`` is told."""
        if job.fault:
            return DeviceFailed(job.fault)
        if self._crashed is not None:
            return DeviceFailed(
                f"Node {job.node or '?'} crashed the worker ({self._crashed.name}), as a fatal error of the GPU does, "
                "such as an index out of range. Another worker takes its place. The same job may crash it again"
            )
        return JobFroze(job.node if job.runs else None)

    def _answer(self, job: SeenJob) -> None:
        """Answer ``job``, unless the worker answers it or goes on."""
        error = self._error(job)
        more = more_keys(self._settings)
        bodies = [self._with_files(job, error).body(**more), encode(error.answer()).body(**more)]
        if not self._board.claim(job.number):
            return
        if not ((self._crashed or self._is_due()) and self._board.mark_answered(job)):
            self._board.give_back(job.number)
            return
        self._answered.add(job.number)
        outcome = _post(job.job_id, bodies, self._headers)
        # Logged after the post, since a log that nobody reads any more blocks.
        what = "has crashed" if self._crashed else "stands still and is ended if it does not go on"
        _log.critical("The worker %s. Its job was answered (%s): %s", what, outcome, error)

    def _with_files(self, job: SeenJob, error: WorkerError) -> Reply:
        """The answer with what the job has saved, as far as it can be read and there is room."""
        limit_mb = answer_limit_mb(self._settings, job.job_id)
        try:
            with contextlib.closing(self._state.new_workspace()) as workspace:
                outputs, left_out = self._copy_files(job, workspace, limit_mb * MB - _AROUND)
                ran = RunResult(GraphRun({}, workspace), "interrupted", outputs, (*left_out, str(error)), error=error)
                return encode(make_answer(collect(ran), Delivery(None, limit_mb, self._settings.secrets())), limit_mb)
        except Exception:  # noqa: BLE001 - the job must have an answer. It is not logged here: the log may block.
            return encode(error.answer())

    def _copy_files(
        self, job: SeenJob, workspace: Workspace, room: float
    ) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
        """Copy the job's files from ComfyUI's output folder; their ui dicts by node, and a line for each left out."""
        outputs: dict[str, list[dict[str, Any]]] = {}
        left_out = []
        output = self._state.output.resolve()
        for node_id, key, entry in job.files:
            # A node may name its file by a full path.
            inside = Path(path_inside(self._state.output, entry["subfolder"], entry["filename"]) or "")
            source, target = (output / inside).resolve(), workspace.output / inside
            # A file that is still being encoded is empty.
            if not (source.is_relative_to(output) and source.is_file() and (size := source.stat().st_size)):
                continue
            in_answer = size * 4 / 3 + _AROUND_FILE
            if in_answer > room:
                left_out.append(f"{encodable(inside.name)} is left out: its {size / MB:.2f} MB do not fit in here")
                continue
            room -= in_answer
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            outputs.setdefault(node_id, []).append({key: [entry]})
        return outputs, left_out


def _post(job_id: str, bodies: list[bytes], headers: dict[str, str]) -> str:
    """Post the first body that RunPod does not refuse, until it is taken. Returns what became of it."""
    end = time.monotonic() + _TRIES_S
    outcome = "not sent"
    while bodies and time.monotonic() < end:
        try:
            response = requests.post(
                post_url(job_id), bodies[0], headers={**headers, **post_headers(job_id)}, timeout=_POST_S,
                allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException as error:
            outcome = type(error).__name__
            time.sleep(_LOOK_S)
            continue
        outcome = f"HTTP {response.status_code}"
        if response.ok or response.status_code in UNKNOWN_JOB:
            break
        if is_transient(response.status_code):
            time.sleep(_LOOK_S)
        else:
            bodies = bodies[1:]
    return outcome
