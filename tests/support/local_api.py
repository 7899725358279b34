"""A local API in this process, on a free port, and what tests ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import graphs
import requests

from worker import Worker
from worker.local_api.serve import serve
from worker.local_api.webhooks import Webhooks


@contextlib.contextmanager
def serving(worker: Worker, **changes: Any) -> Iterator[str]:
    """The local API of ``worker`` with other settings; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings, worker.settings = worker.settings, worker.settings.model_copy(update=changes)
    loop = asyncio.new_event_loop()
    task = loop.create_task(serve(worker, listener, Webhooks(delay_s=0.1)))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)
        worker.settings = settings
        assert not thread.is_alive()


def post(url: str, content: Any = None, **options: Any) -> Any:
    """POST JSON, and give the answer's JSON; it must be 200."""
    answer = requests.post(url, json=content, timeout=60, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def get(url: str) -> Any:
    """GET JSON; it must be 200."""
    answer = requests.get(url, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def request(graph: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of a request."""
    return {"input": {"workflow": graph}, **more}


def sleeping(seconds: float = 60) -> dict[str, Any]:
    """A workflow that takes so long, and can be interrupted."""
    return graphs.through("TestSleeps", steps=round(seconds * 50))


def until(url: str, job_id: str, status: str, seconds: float = 20) -> Any:
    """The job's status, once it is ``status``."""
    end = time.monotonic() + seconds
    while (seen := get(f"{url}/status/{job_id}"))["status"] != status:
        assert time.monotonic() < end, seen
        time.sleep(0.02)
    return seen
