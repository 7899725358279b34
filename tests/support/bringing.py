"""Brings a model on demand in a process of its own, which can start at the same time as another one, or be killed."""

from __future__ import annotations

import threading
from multiprocessing.queues import Queue
from pathlib import Path

from worker.fetch.address import Tokens
from worker.fetch.connections import Connections
from worker.on_demand.fetching import Fetching, Wish
from worker.on_demand.store import Store


def bring_in_process(url: str, cache: Path, queue: Queue[str]) -> None:
    """Fetch ``url`` into ``cache``, and put its path into ``queue``. The lease lasts until the process ends.

    A new process imports this function by its module's name, so it stands where each process finds it, not in a test.
    """
    fetching = Fetching(Store(cache, 10**9), Connections(Tokens(), any_host=True, read_s=1), 60)
    wish = Wish("a model", url, ".safetensors")
    found = fetching.bring([wish], None, threading.Event())
    queue.put(str(found[wish.key].path))
    threading.Event().wait(60)
