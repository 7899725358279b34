"""RunPod's own loop, from its SDK, around the handler: jobs are taken from the platform and answered to it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

from worker.handler import JobHandler
from worker.reply import Answer, encode
from worker.runpod_posts import JobPosts, ProgressReporter, post_result
from worker.runpod_sdk import (
    JOB_DONE_URL,
    AsyncClientSession,
    JobScaler,
    JobsProgress,
    PingJobMirror,
    RunPodLogger,
    TooManyRequests,
    get_job,
    run_fitness_checks,
    sdk_worker,
)
from worker.settings import Settings
from worker.worker import Worker

_log = logging.getLogger("worker")

_POLL_S = 90.0
_BUSY_PAUSE_S = 5.0
_MAX_PAUSE_S = 15.0
_SYNC_LIMIT_MB, _ASYNC_LIMIT_MB = 20.0, 10.0  # What RunPod takes for jobs of /runsync and of /run.


def serve_runpod(settings: Settings) -> None:
    """Take jobs from RunPod and answer them, until SIGTERM, SIGINT or, with ``REFRESH_WORKER``, the first answer.

    In this order: heartbeats, from a process that is forked while this one is still small and has neither threads nor a
    CUDA context; ComfyUI; the SDK's fitness checks; the loop.

    Raises:
        StartError: ComfyUI cannot start.
    """
    RunPodLogger.level = settings.runpod_log_level
    _start_heartbeat()
    with Worker(settings) as worker:
        asyncio.run(run_fitness_checks())
        asyncio.run(_Loop(worker).run())


def _start_heartbeat() -> None:
    mirror = PingJobMirror()
    JobsProgress().set_mirror(mirror)
    with _forks_die_with_this_process():
        sdk_worker.heartbeat.start_ping(mirror)


_fork_dies_with: int | None = None


@contextlib.contextmanager
def _forks_die_with_this_process() -> Iterator[None]:
    """A heartbeat that outlives its worker would tell RunPod that a dead worker lives."""
    global _fork_dies_with  # The hook cannot be taken back, nor given an argument.
    os.register_at_fork(after_in_child=_die_with_parent)
    _fork_dies_with = os.getpid()
    try:
        yield
    finally:
        _fork_dies_with = None


def _die_with_parent() -> None:
    if _fork_dies_with is None:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the worker, which then ends this process.
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != _fork_dies_with:  # It died before this was said.
        os._exit(0)


class _Loop(JobScaler):  # type: ignore[misc] # The SDK has no types.
    """The SDK's loop, with what it lacks.

    - A job is asked for as soon as there is room for one, and begins as soon as it is there; the SDK looks for the one
      once a second, for the other every 100 ms.
    - It ends at once when it is told to, and never with a job that it has taken and not run: it stops asking before it
      stops running.
    - While RunPod's API does not answer, it asks ever less often, and says so once.
    - An answer is serialised once, and posted until it is taken.
    """

    def __init__(self, worker: Worker) -> None:
        settings = worker.settings
        super().__init__({"refresh_worker": settings.refresh_worker, "rp_args": {}})
        self.current_concurrency = 1 if settings.refresh_worker else settings.worker_concurrency
        self.jobs_queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=self.current_concurrency)
        self.jobs_fetcher = self._take
        self.jobs_fetcher_timeout = 2 * _POLL_S  # ``_take`` ends by itself.
        self.jobs_handler = self._answer
        self._handler = JobHandler(worker)
        self._limit_mb = settings.max_response_mb
        self._leaving = asyncio.Event()
        self._room = asyncio.Event()
        self._failures = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.leave)
        async with AsyncClientSession() as session:
            others = [
                asyncio.create_task(self.get_jobs(session)),
                asyncio.create_task(self.monitor_stop_signals(session)),
            ]
            _log.info("Ready for jobs")
            try:
                await self.run_jobs(session)
            finally:
                for task in others:
                    task.cancel()
                await asyncio.wait(others)
        _log.info("The worker ends")

    def leave(self) -> None:
        """Take no more jobs, finish those that were taken, and end."""
        self._leaving.set()

    async def set_scale(self) -> None:
        """Called before each request for jobs: wait until there is room for one."""
        while not self._leaving.is_set() and self.current_occupancy() >= self.current_concurrency:
            self._room.clear()
            await _first_of(self._room.wait(), self._leaving.wait())
        if self._leaving.is_set():
            self.kill_worker()  # Nothing is on its way: requests are made by the one who called.

    async def run_jobs(self, session: Any) -> None:
        """Run what ``get_jobs`` has taken, until the worker ends and nothing is left."""
        running: set[asyncio.Task[None]] = set()
        while (job := await self._next_job()) is not None:
            self._room.set()  # It counts as running now, no longer as waiting.
            task = self.jobs_tasks[job["id"]] = asyncio.create_task(self.handle_job(session, job))
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _: self._room.set())
        await asyncio.gather(*running, return_exceptions=True)

    async def _next_job(self) -> dict[str, Any] | None:
        job = asyncio.ensure_future(self.jobs_queue.get())
        await _first_of(job, self._shutdown_event.wait())
        await asyncio.wait([job])
        return None if job.cancelled() else job.result()

    async def _take(self, session: Any, count: int) -> list[dict[str, Any]] | None:
        """Ask for ``count`` jobs. Raises nothing; None where there are none or where the worker leaves."""
        if not self.is_alive():
            return None
        request = asyncio.ensure_future(get_job(session, count))
        await _first_of(request, self._leaving.wait(), seconds=_POLL_S)
        await asyncio.wait([request])  # It may have come while it was cancelled: then it counts.
        if request.cancelled():
            return None
        error = request.exception()
        if error is None:
            self._reached()
            jobs: list[dict[str, Any]] | None = request.result()
            return jobs
        await self._missed(error)
        return None

    def _reached(self) -> None:
        if self._failures > 1:
            _log.info("RunPod's API answers again")
        self._failures = 0

    async def _missed(self, error: BaseException) -> None:
        if isinstance(error, TooManyRequests):
            pause = _BUSY_PAUSE_S
        else:
            self._failures += 1
            pause = min(0.5 * 2 ** min(self._failures, 10), _MAX_PAUSE_S)
            if self._failures == 1 or self._failures % 20 == 0:
                _log.warning("RunPod's API gave no job: %s: %s", type(error).__name__, error)
        await _first_of(self._leaving.wait(), seconds=pause)

    async def _answer(self, session: Any, config: dict[str, Any], job: dict[str, Any]) -> None:
        job_id = str(job["id"])
        stop = {"stopPod": True} if config["refresh_worker"] else {}
        posts = JobPosts(session, JOB_DONE_URL.replace("$ID", job_id) + "&isStream=false", job_id)
        limit = self._limit_mb or (_SYNC_LIMIT_MB if job_id.startswith("sync-") else _ASYNC_LIMIT_MB)

        def body(answer: Answer) -> bytes:
            return encode(answer, limit).body(**stop)

        async with ProgressReporter(posts.progress) as on_event:
            answer = await self._handler.answer(job, body, on_event, limit)
        await post_result(posts, answer, lambda text: body({"error": text, "error_type": "answer_refused"}))


async def _first_of(*waits: Any, seconds: float | None = None) -> None:
    """Until one of ``waits`` is over; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
