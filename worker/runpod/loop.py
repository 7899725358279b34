"""RunPod's own loop, from its SDK, around the handler: jobs are taken from the platform and answered to it."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import aiohttp

from worker.answer.reply import encode
from worker.errors import WorkerDefunct, failure
from worker.handler import JobHandler
from worker.logs import job_lines, one_line
from worker.runpod.posts import JobPosts, ProgressReporter, post_result
from worker.runpod.sdk import JOB_DONE_URL, AsyncClientSession, JobScaler, TooManyRequests, get_job, get_stop_signals
from worker.worker import Worker

_log = logging.getLogger("worker")

_POLL_S = 90.0
_BUSY_PAUSE_S = 5.0
_EMPTY_PAUSE_S = 1.0  # After an answer without a job that came at once: RunPod holds such a request.
_MAX_PAUSE_S = 15.0
_ARRIVAL_S = 60.0  # For a job whose transfer has begun when the worker is told to leave.
_STUCK_S = 5.0  # For jobs that were stopped and do not end, when the worker leaves.
_SYNC_LIMIT_MB, _ASYNC_LIMIT_MB = 20.0, 10.0  # What RunPod takes for jobs of /runsync and of /run.


class _Outage:
    """Pauses between requests that fail, ever longer; says so at the first and at every twentieth."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0

    def over(self) -> None:
        """A request was answered."""
        if self._failures > 1:
            _log.info("RunPod's API answers again: %s", self._what)
        self._failures = 0

    def pause_s(self, error: BaseException) -> float:
        """A request failed: seconds to wait before the next."""
        if isinstance(error, TooManyRequests):
            return _BUSY_PAUSE_S
        self._failures += 1
        if self._failures == 1 or self._failures % 20 == 0:
            _log.warning("RunPod's API does not answer: %s: %s: %s", self._what, type(error).__name__, error)
        return float(min(0.5 * 2 ** min(self._failures, 10), _MAX_PAUSE_S))


class Loop(JobScaler):  # type: ignore[misc] # The SDK has no types.
    """The SDK's loop, with what it lacks.

    - A job is asked for as soon as there is room for one, and begins as soon as it is there; the SDK looks for the one
      once a second, for the other every 100 ms.
    - It ends at once when it is told to, and never with a job that it has taken and not run: it stops asking before it
      stops running.
    - While RunPod's API does not answer, it asks ever less often, and says so once; what is no job is left out.
    - An answer is serialised once, and posted until it is taken.
    """

    def __init__(self, worker: Worker) -> None:
        settings = worker.settings
        super().__init__({"refresh_worker": settings.refresh_worker, "rp_args": {}})
        self.current_concurrency = 1 if settings.refresh_worker else settings.worker_concurrency
        self.jobs_queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=self.current_concurrency)
        self.jobs_fetcher = self._take
        self.jobs_fetcher_timeout = 4 * _POLL_S  # ``_take`` ends by itself.
        self.jobs_handler = self._answer
        self.stop_signals_fetcher = self._take_stops
        self.stop_signals_fetcher_timeout = 4 * _POLL_S
        self._handler = JobHandler(worker)
        self._life = worker.life
        self._limit_mb = settings.max_response_mb
        self._leaving = asyncio.Event()
        self._room = asyncio.Event()
        self._take_outage = _Outage("asking for jobs")
        self._stop_outage = _Outage("asking for jobs to stop")
        self._arriving = False
        self._stopped: set[str] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.leave)
        self._life.on_end(lambda: loop.call_soon_threadsafe(self._leaving.set))
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._answer_begins)
        async with AsyncClientSession(trace_configs=[trace]) as session:
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
        self._life.drain("it was told to end")
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
            task = asyncio.create_task(self.handle_job(session, job))
            running.add(task)
            self.jobs_tasks[job["id"]] = task
            task.add_done_callback(partial(self._ended, running, job))
            if job["id"] in self._stopped:
                task.cancel()
        while running:
            stuck = self._all_stopped()
            _, left = await asyncio.wait(running, timeout=_STUCK_S if stuck else 1.0)
            if left and stuck:
                _log.error("A job that was stopped does not end; the worker leaves it behind")
                return

    def _all_stopped(self) -> bool:
        return all(job_id in self._stopped for job_id in self.jobs_tasks)

    def _ended(self, running: set[asyncio.Task[None]], job: dict[str, Any], task: asyncio.Task[None]) -> None:
        """However a job has ended, and be it before its first step, it leaves no trace in the SDK's books."""
        running.discard(task)
        self._stopped.discard(job["id"])
        self.job_progress.remove(job)
        if self.jobs_tasks.get(job["id"]) is task:
            self.jobs_tasks.pop(job["id"])
        if not task.cancelled() and task.exception() is not None:
            _log.error("A job ended in a way that nobody foresaw", exc_info=task.exception())
        if self.config["refresh_worker"]:
            self.leave()
        self._room.set()

    async def stop_job(self, job_id: str) -> bool:
        """Stop a job that runs or waits to; a second word about it changes nothing."""
        known = job_id in {str(job) for job in self.job_progress}
        if not known or job_id in self._stopped:
            return False
        self._stopped.add(job_id)
        return bool(await super().stop_job(job_id))

    async def _next_job(self) -> dict[str, Any] | None:
        job = asyncio.ensure_future(self.jobs_queue.get())
        await _first_of(job, self._shutdown_event.wait())
        await asyncio.wait([job])
        return None if job.cancelled() else job.result()

    async def _answer_begins(self, _session: Any, _context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        """The headers of a response have come; those of a job are followed by the job."""
        if "/job-take" in params.url.path and params.response.status == 200:
            self._arriving = True

    async def _take(self, session: Any, count: int) -> list[dict[str, Any]] | None:
        """Ask for ``count`` jobs. Raises nothing; None where there are none or where the worker leaves."""
        if not self.is_alive():
            return None
        self._arriving, begun = False, time.monotonic()
        request = asyncio.ensure_future(get_job(session, count))
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait([request, leaving], timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                # A job that is on its way belongs to this worker: it is waited for, and run.
                await asyncio.wait([request], timeout=0.05)
                if self._arriving:
                    await asyncio.wait([request], timeout=_ARRIVAL_S)
        finally:
            leaving.cancel()
            request.cancel()
        await asyncio.wait([request])
        if request.cancelled():
            return None
        error = request.exception()
        if error is not None:
            await self._pause(self._take_outage.pause_s(error))
            return None
        self._take_outage.over()
        jobs = self._sorted_out(request.result() or ())
        if not jobs and time.monotonic() - begun < _EMPTY_PAUSE_S:
            await self._pause(_EMPTY_PAUSE_S)
        return jobs

    def _sorted_out(self, given: Iterable[object]) -> list[dict[str, Any]]:
        """What of an answer are jobs that do not run already."""
        jobs: dict[str, dict[str, Any]] = {}
        for job in given:
            if not (isinstance(job, dict) and isinstance(job.get("id"), str) and job["id"] and "input" in job):
                _log.warning("RunPod's API gave something that is no job: a %s", type(job).__name__)
            elif job["id"] in jobs or self.job_progress.get(job["id"]) is not None:
                _log.warning("RunPod's API gave the job %s twice", one_line(job["id"]))
            else:
                jobs[job["id"]] = job
        return list(jobs.values())

    async def _take_stops(self, session: Any) -> list[str]:
        """Ask for jobs to stop. Raises nothing."""
        begun = time.monotonic()
        try:
            job_ids: list[str] = await asyncio.wait_for(get_stop_signals(session), _POLL_S)
        except TimeoutError:
            return []
        except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on.
            await self._pause(self._stop_outage.pause_s(error))
            return []
        self._stop_outage.over()
        if time.monotonic() - begun < _EMPTY_PAUSE_S and not any(job_id in self.jobs_tasks for job_id in job_ids):
            await self._pause(_EMPTY_PAUSE_S)
        return job_ids

    async def _pause(self, seconds: float) -> None:
        await _first_of(self._leaving.wait(), seconds=seconds)

    async def _answer(self, session: Any, config: dict[str, Any], job: dict[str, Any]) -> None:
        job_id = job["id"]
        stop = {"stopPod": True} if config["refresh_worker"] else {}
        posts = JobPosts(session, JOB_DONE_URL.replace("$ID", job_id) + "&isStream=false", job_id)
        limit = self._limit_mb or (_SYNC_LIMIT_MB if job_id.startswith("sync-") else _ASYNC_LIMIT_MB)
        with job_lines(job_id):
            async with ProgressReporter(posts.progress) as on_event:
                try:
                    reply = await self._handler.reply(job, on_event, limit)
                except WorkerDefunct:
                    _log.warning("The job is left without an answer, so that RunPod gives it to another worker")
                    return

            def refused(text: str) -> bytes:
                return encode(failure(text, "answer_refused")).body(**stop)

            await post_result(posts, reply.body(**stop), refused)


async def _first_of(*waits: Any, seconds: float | None = None) -> None:
    """Until one of ``waits`` is over; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
