"""The loop of a worker on RunPod: takes jobs, runs them, and posts their answers until the worker leaves."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import Any

import aiohttp

from worker.answer.reply import encode
from worker.errors import WorkerDefunct, failure
from worker.handler import JobHandler
from worker.logs import job_lines
from worker.runpod.board import Board
from worker.runpod.posts import JobPosts, ProgressReporter, post_result
from worker.runpod.result_post import answer_limit_mb, more_keys
from worker.runpod.running import RunningJobs
from worker.runpod.sdk import AsyncClientSession
from worker.runpod.take import EMPTY_PAUSE_S, JobSource, RawJob, StopSource
from worker.runpod.waiting import first_of
from worker.worker import Worker

_log = logging.getLogger("worker")


class Loop:
    """Serves RunPod with an open worker.

    - It asks for a job as soon as there is room for one, and begins each job as soon as it comes. (The SDK's own loop
      checks for room once a second, and for jobs every 100 ms.)
    - When it is told to leave, it stops asking at once, finishes the jobs that it has taken, and ends.
    - While RunPod's API does not answer, it asks less and less often, and logs only some of the failures.
    - An answer is encoded once, and posted until RunPod accepts it.

    Args:
        worker: runs the jobs. The loop leaves when the worker drains or becomes defunct.
        board: tells the heartbeat process about the jobs.

    Attributes:
        reports: tells of each job that has ended.
    """

    def __init__(self, worker: Worker, board: Board) -> None:
        settings = worker.settings
        self._handler = JobHandler(worker)
        self.reports = self._handler.reports
        self._life, self._freeze, self._board = worker.life, worker.freeze, board
        self._settings = settings
        self._refresh = settings.refresh_worker
        self._leaving = asyncio.Event()
        self._jobs = JobSource(self._leaving)
        self._stops = StopSource()
        self._running = RunningJobs(1 if self._refresh else settings.worker_concurrency)

    async def run(self) -> None:
        """Take and run jobs until the worker leaves and all its jobs have ended."""
        loop = asyncio.get_running_loop()

        def on_tick(ends_at: float) -> None:
            self._board.tick(ends_at)
            for job_id in self._board.answered():  # The worker stood still, and goes on after all.
                loop.call_soon_threadsafe(self._running.stop, job_id)

        self._freeze.on_tick = on_tick
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.leave)
        self._life.on_end(lambda: loop.call_soon_threadsafe(self._leaving.set))
        async with AsyncClientSession(trace_configs=[self._jobs.trace]) as session:
            stopping = asyncio.create_task(self._stop_jobs(session))
            _log.info("Ready for jobs")
            try:
                await self._take_jobs(session)
                if not await self._running.all_ended():
                    _log.error("A job that was stopped does not end; the worker leaves it behind")
            finally:
                stopping.cancel()
                await asyncio.wait([stopping])
        _log.info("The worker ends")

    def has_jobs(self) -> bool:
        """Whether any job that was taken has not ended."""
        return len(self._running) > 0

    def leave(self) -> None:
        """Take no more jobs, finish those that were taken, and end."""
        self._life.drain("it was told to end")
        self._leaving.set()

    async def _take_jobs(self, session: aiohttp.ClientSession) -> None:
        """Begin each job that RunPod hands out, until the worker leaves."""
        while not self._leaving.is_set():
            await first_of(self._running.until_room(), self._leaving.wait())
            if self._leaving.is_set():
                return
            for job in await self._jobs.take(session, self._running.room, self._running):
                task = self._running.begin(job["id"], self._answer(session, job))
                self._freeze.begin()
                if self._refresh:
                    task.add_done_callback(lambda _: self.leave())

    async def _stop_jobs(self, session: aiohttp.ClientSession) -> None:
        """Stop each job that RunPod names, until the loop ends, since a worker that leaves may still run jobs."""
        while True:
            begun = time.monotonic()
            stopped = [job_id for job_id in await self._stops.take(session) if self._stop(job_id)]
            if not stopped and time.monotonic() - begun < EMPTY_PAUSE_S:
                await asyncio.sleep(EMPTY_PAUSE_S)

    def _stop(self, job_id: str) -> bool:
        stopped = self._running.stop(job_id)
        if stopped:
            self._board.withdraw(job_id)
        return stopped

    async def _answer(self, session: aiohttp.ClientSession, raw: RawJob) -> None:
        """Run one job and post its answer. If a defunct worker has not begun the job, post nothing."""
        job_id = raw["id"]
        posts, more = JobPosts(session, job_id), more_keys(self._settings)
        with job_lines(job_id), self._board.job(job_id) as job:

            async def progress(report: dict[str, Any]) -> None:
                if not job.is_answered:
                    await posts.progress(report)

            async with ProgressReporter(progress, self._settings.progress_interval_s) as on_event:
                try:
                    limit_mb = answer_limit_mb(self._settings, job_id)
                    reply = await self._handler.reply(raw, job.heard_by(on_event), limit_mb)
                except WorkerDefunct:
                    _log.warning("The job is left without an answer, so that RunPod gives it to another worker")
                    return

            def refused(text: str) -> bytes:
                return encode(failure(text, "answer_refused")).body(**more)

            if await job.claim():
                await post_result(posts, reply.body(**more), refused)
            else:
                _log.warning("The job was answered already, since the worker stood still")
