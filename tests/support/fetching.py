"""A download in a process of its own, which can start at the same time as another one, or be killed."""

from __future__ import annotations

import threading
from multiprocessing.queues import Queue
from pathlib import Path

from worker.fetch.address import Tokens
from worker.fetch.connections import Connections
from worker.fetch.download import Wanted, Watch, fetch_file


def fetch_in_process(url: str, target: Path, sha256: str, queue: Queue[str]) -> None:
    """Fetch ``url`` to ``target`` and put its hash into ``queue``.

    A new process imports this function by its module's name, so it stands where each process finds it, not in a test.
    """
    watch = Watch(lambda _count: None, threading.Event())
    record = fetch_file(Connections(Tokens(), any_host=True, read_s=1), Wanted(url, target, sha256), watch)
    queue.put(record.sha256 or "")
