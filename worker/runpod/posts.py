"""Posts a job's progress to RunPod at intervals, and its result until RunPod accepts it."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from worker.events import Event
from worker.progress.job_progress import JobProgress
from worker.runpod.result_post import UNKNOWN_JOB, is_transient, post_headers, post_url
from worker.runpod.waiting import first_of

_log = logging.getLogger("worker")

_RESULT_S = 600.0  # So long, since to make the result again would cost more.
_RESULT_PAUSES_S = (0.5, 1, 2, 4, 8)
_RESULT_MAX_PAUSE_S = 15
_RESULT_TIMEOUT = aiohttp.ClientTimeout(total=120)
_PROGRESS_TIMEOUT = aiohttp.ClientTimeout(total=5)
_PROGRESS_FIRST_S = 0.5  # A job that ends sooner reports no progress.
_CLOCKS = frozenset({"seconds", "seconds_left"})
_PROGRESS_LAST_S = 1.0  # How long a result waits for a progress report that is being posted.


class ResultRefused(Exception):
    """RunPod refuses a post, and would refuse it again. ``status`` is the HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class JobPosts:
    """The posts of one job.

    Args:
        session: the SDK's HTTP session, which knows the worker's key.
        job_id: RunPod's id of the job.
    """

    def __init__(self, session: aiohttp.ClientSession, job_id: str) -> None:
        self._session = session
        self._url = post_url(job_id)
        self._headers = post_headers(job_id)

    async def progress(self, report: dict[str, Any]) -> None:
        """Post ``report`` once. A lost report does no harm."""
        body = json.dumps({"status": "IN_PROGRESS", "output": report}).encode()
        try:
            await self._post(body, _PROGRESS_TIMEOUT)
        except (aiohttp.ClientError, TimeoutError, ResultRefused) as error:
            _log.debug("A progress report was not taken: %r", error)

    async def result(self, body: bytes) -> None:
        """Post a result until RunPod accepts it, for ten minutes at most.

        Raises:
            ResultRefused: RunPod refuses this result, and would refuse it again.
            TimeoutError: RunPod did not accept it within ten minutes.
        """
        async with asyncio.timeout(_RESULT_S):
            for pause in itertools.chain(_RESULT_PAUSES_S, itertools.repeat(_RESULT_MAX_PAUSE_S)):
                try:
                    await self._post(body, _RESULT_TIMEOUT)
                    return
                except (aiohttp.ClientError, TimeoutError) as error:
                    _log.warning("The result was not taken (%s); trying again in %g s", _reason(error), pause)
                    await asyncio.sleep(pause)

    async def _post(self, body: bytes, limit: aiohttp.ClientTimeout) -> None:
        async with self._session.post(
            self._url, data=body, headers=self._headers, timeout=limit, allow_redirects=False
        ) as response:
            await response.read()
            if is_transient(response.status):
                response.raise_for_status()
            if not 200 <= response.status < 300:
                raise ResultRefused(response.status)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP {error.status}"
    return type(error).__name__


async def post_result(posts: JobPosts, body: bytes, substitute: Callable[[str], bytes]) -> None:
    """Post ``body``. If RunPod refuses it, post the body that ``substitute`` returns for the reason.

    Raises nothing: what goes wrong here can only be logged.
    """
    try:
        await posts.result(body)
    except ResultRefused as refused:
        if refused.status in UNKNOWN_JOB:
            _log.warning("RunPod no longer knows this job (HTTP %d); its result is dropped", refused.status)
            return
        _log.error("RunPod refused the result of %.2f MB (HTTP %d)", len(body) / 1e6, refused.status)
        text = f"RunPod refused the answer of {len(body) / 1e6:.2f} MB with HTTP {refused.status}"
        try:
            await posts.result(substitute(text))
        except (ResultRefused, TimeoutError) as error:
            _log.error("RunPod refused the error in its place as well (%s)", error)
    except TimeoutError:
        _log.error("The result is lost: RunPod's API did not take it in %g s", _RESULT_S)


class ProgressReporter:
    """Posts a job's progress while it runs: the newest state, one post at a time, and no post after the end.

    ::

        async with ProgressReporter(posts.progress, interval_s) as on_event:
            ...  # on_event(event) may be called on any thread

    ``interval_s``: the pause between two posts, in seconds. 0: nothing is posted.
    """

    def __init__(self, post: Callable[[dict[str, Any]], Awaitable[None]], interval_s: float) -> None:
        self._post = post
        self._interval_s = interval_s
        self._progress = JobProgress()
        self._ending = asyncio.Event()

    async def __aenter__(self) -> Callable[[Event], None]:
        self._task = asyncio.create_task(self._report())
        return self._progress if self._interval_s else _ignore

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for a post that has begun, so that the result comes after it. After an error, drop the post instead."""
        self._ending.set()
        try:
            if kind is None:
                await asyncio.wait([self._task], timeout=_PROGRESS_LAST_S)
        finally:
            self._task.cancel()

    async def _report(self) -> None:
        if not self._interval_s:
            return
        last: dict[str, Any] = {}
        await first_of(self._ending.wait(), seconds=min(_PROGRESS_FIRST_S, self._interval_s))
        while not self._ending.is_set():
            report = self._progress.report()
            news = {key: value for key, value in report.items() if key not in _CLOCKS}
            # Before there are nodes, the job waits for its turn. That time goes by is no news.
            if self._progress.node_count and news != last:
                last = news
                await self._post(report)
            await first_of(self._ending.wait(), seconds=self._interval_s)


def _ignore(_: Event) -> None:
    """Events of a job whose progress nobody sees."""
