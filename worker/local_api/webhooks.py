"""Posts the status of jobs that have ended to their callers' webhooks, in up to three attempts, as RunPod does."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

import aiohttp

_log = logging.getLogger("worker")
_TIMEOUT = aiohttp.ClientTimeout(total=30)
_ATTEMPTS = 3


class Webhooks:
    """Posts to webhooks in the background.

    Args:
        delay_s: seconds between two attempts.
    """

    def __init__(self, delay_s: float = 10.0) -> None:
        self._delay_s = delay_s
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, url: str, body: bytes) -> None:
        """Post ``body``, a JSON object, to ``url``. Unless the answer is 200, post it again."""
        task = asyncio.create_task(self._post(url, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait one second for the remaining posts, then drop them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        for task in self._tasks:
            task.cancel()

    async def _post(self, url: str, body: bytes) -> None:
        problem = ""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            for attempt in range(_ATTEMPTS):
                if attempt:
                    await asyncio.sleep(self._delay_s)
                try:
                    headers = {"Content-Type": "application/json"}
                    async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                        if response.status == 200:
                            return
                        problem = f"HTTP {response.status}"
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    problem = type(error).__name__
        _log.warning("The webhook at %s did not take a job's status: %s", urlsplit(url).hostname, problem)
