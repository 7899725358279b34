"""Fetches several files at once, after it has looked whether the disks have room for them."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from worker.errors import FetchFailed
from worker.fetch.connections import Connections
from worker.fetch.download import DiskFull, Wanted, Watch, fetch_file
from worker.fetch.part import left_over
from worker.fetch.records import Record

AT_ONCE = 4
_SPARE = 64 << 20  # Bytes that stay free, since other programs write as well.
Told = Callable[[Wanted, int], None]
"""Called with a file and the bytes of it that came, on any thread."""


def without_room(files: Iterable[Wanted]) -> Iterator[tuple[Path, int, int]]:
    """The disks that have no room for ``files``: a folder on it, the bytes that are needed, and those that are free.

    Files whose size nobody knows count as empty.
    """
    needed: dict[int, tuple[Path, int]] = {}
    for file in files:
        folder = _existing(file.target.parent)
        device = folder.stat().st_dev
        first, count = needed.get(device, (folder, 0))
        needed[device] = first, count + max(0, (file.size or 0) - left_over(file.target))
    for folder, count in needed.values():
        free = shutil.disk_usage(folder).free
        if count and count + _SPARE > free:
            yield folder, count, free


def fetch_several(
    connections: Connections,
    files: Sequence[Wanted],
    on_bytes: Told,
    stop: threading.Event,
    judge: Callable[[Path], str | None] = lambda _: None,
    at_once: int = AT_ONCE,
) -> dict[Wanted, Record | FetchFailed]:
    """Fetch ``files``, the largest first. What goes wrong with one costs no other, but for a full disk.

    Args:
        connections: they say which hosts may be asked.
        files: what to fetch.
        on_bytes: hears of progress.
        stop: set it to stop. What has come so far stays.
        judge: as for ``fetch_file``.
        at_once: how many at the same time.

    Raises:
        FetchStopped: ``stop`` was set.
    """
    full = threading.Event()

    def fetch(file: Wanted) -> Record | FetchFailed:
        if full.is_set():
            return DiskFull("it was not begun, since the disk is full")
        try:
            return fetch_file(connections, file, Watch(lambda count: on_bytes(file, count), stop), judge)
        except DiskFull as error:
            full.set()
            return error
        except FetchFailed as error:
            return error

    ordered = sorted(files, key=lambda file: file.size or 0, reverse=True)
    with unwaited_pool(at_once, stop) as pool:
        futures = {file: pool.submit(fetch, file) for file in ordered}
        return {file: future.result() for file, future in futures.items()}


@contextlib.contextmanager
def unwaited_pool(threads: int, stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Threads that are told to stop if this one is interrupted. It does not wait for a server that they wait for."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
    try:
        yield pool
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
