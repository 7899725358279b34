"""Asks RunPod for jobs to run and for jobs to stop, with long polls. Errors are logged, not raised."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Container, Iterable
from typing import Any

import aiohttp

from worker.logs import one_line
from worker.runpod.sdk import TooManyRequests, get_job, get_stop_signals
from worker.runpod.waiting import first_of

_log = logging.getLogger("worker")

_POLL_S = 90.0
_BUSY_PAUSE_S = 5.0
_MAX_PAUSE_S = 15.0
EMPTY_PAUSE_S = 1.0  # Pause after an empty answer that came sooner than this. Normally RunPod holds the request open.
_HEADERS_S = 0.25  # When the poll should end, wait so long for the headers of an answer that may be on its way.
_ARRIVAL_S = 60.0  # When these headers have come, wait so long for the job that follows.

RawJob = dict[str, Any]  # ``{"id", "input", …}``, as RunPod hands it over.


class _Outage:
    """Computes growing pauses between requests that fail. It logs the first failure and every twentieth."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0

    def over(self) -> None:
        """Note that a request was answered."""
        if self._failures > 1:
            _log.info("RunPod's API answers again: %s", self._what)
        self._failures = 0

    def pause_s(self, error: BaseException) -> float:
        """Note that a request failed. Returns how many seconds to wait before the next one."""
        if isinstance(error, TooManyRequests):
            return _BUSY_PAUSE_S
        self._failures += 1
        if self._failures == 1 or self._failures % 20 == 0:
            _log.warning("RunPod's API does not answer: %s: %s: %s", self._what, type(error).__name__, error)
        return float(min(0.5 * 2 ** min(self._failures, 10), _MAX_PAUSE_S))


class JobSource:
    """RunPod's queue of jobs.

    Args:
        leaving: set when the worker takes no more jobs. This ends a pause, and a request unless a job is on its way.

    Attributes:
        trace: notices when an answer begins. The session that is given to ``take`` must be made with it.
    """

    def __init__(self, leaving: asyncio.Event) -> None:
        self._leaving = leaving
        self._outage = _Outage("asking for jobs")
        self._arriving = False
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_end.append(self._headers_have_come)

    async def take(self, session: aiohttp.ClientSession, count: int, running: Container[str]) -> list[RawJob]:
        """Ask for up to ``count`` jobs.

        The list is empty if no job comes within 90 s or before the worker leaves. It is also empty if the request
        fails; then this pauses before it returns.

        Args:
            session: knows the worker's key.
            count: the largest number of jobs.
            running: ids of the jobs that run. If RunPod sends one of them again, it is left out.
        """
        begun = time.monotonic()
        request = asyncio.ensure_future(get_job(session, count))
        try:
            await self._until_answered(request)
        finally:
            request.cancel()
        await asyncio.wait([request])
        if request.cancelled():
            return []
        error = request.exception()
        if error is not None:
            await self._pause(self._outage.pause_s(error))
            return []
        self._outage.over()
        jobs = _valid_jobs(request.result() or (), running)
        if not jobs and time.monotonic() - begun < EMPTY_PAUSE_S:
            await self._pause(EMPTY_PAUSE_S)
        return jobs

    async def _until_answered(self, request: asyncio.Future[Any]) -> None:
        """Wait for ``request`` until its time is up or the worker leaves, but always for a job that is on its way.

        RunPod counts such a job as taken by this worker.
        """
        self._arriving = False
        leaving = asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait([request, leaving], timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        await asyncio.wait([request], timeout=_HEADERS_S)
        if self._arriving:
            await asyncio.wait([request], timeout=_ARRIVAL_S)

    async def _headers_have_come(
        self, _session: aiohttp.ClientSession, _context: object, params: aiohttp.TraceRequestEndParams
    ) -> None:
        if "/job-take" in params.url.path and params.response.status == 200:
            self._arriving = True

    async def _pause(self, seconds: float) -> None:
        await first_of(self._leaving.wait(), seconds=seconds)


def _valid_jobs(given: Iterable[object], running: Container[str]) -> list[RawJob]:
    """The jobs in an answer, without jobs that already run and values that are no jobs."""
    jobs: dict[str, RawJob] = {}
    for job in given:
        if not (isinstance(job, dict) and isinstance(job.get("id"), str) and job["id"] and "input" in job):
            _log.warning("RunPod's API gave something that is no job: a %s", type(job).__name__)
        elif job["id"] in jobs or job["id"] in running:
            _log.warning("RunPod's API gave the job %s twice", one_line(job["id"]))
        else:
            jobs[job["id"]] = job
    return list(jobs.values())


class StopSource:
    """RunPod's list of jobs to stop, since their caller has cancelled them or their time is up."""

    def __init__(self) -> None:
        self._outage = _Outage("asking for jobs to stop")

    async def take(self, session: aiohttp.ClientSession) -> list[str]:
        """Ask for the ids of jobs to stop. The list is empty if none come within 90 s or, after a pause, on failure."""
        try:
            async with asyncio.timeout(_POLL_S):  # Python 3.11's wait_for may miss that it is cancelled.
                job_ids: list[str] = await get_stop_signals(session)
        except TimeoutError:
            return []
        except Exception as error:  # noqa: BLE001 - no error of a request may end the worker.
            await asyncio.sleep(self._outage.pause_s(error))
            return []
        self._outage.over()
        return job_ids
