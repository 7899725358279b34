"""Fetches the models of one job into the store, several at once, and tells how far they are."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from worker.errors import FetchFailed, JobInterrupted, ModelsNotFetched
from worker.events import Listener, ModelsFetching
from worker.fetch.address import without_secrets
from worker.fetch.connections import Connections
from worker.fetch.download import FetchStopped, Wanted, Watch, fetch_file
from worker.fetch.model_names import SAFE_ENDINGS, looks_pickled
from worker.fetch.part import left_over
from worker.fetch.records import Record, read_record
from worker.fetch.remote import ask
from worker.fetch.several import AT_ONCE, unwaited_pool
from worker.models.damage import damage, size_text
from worker.on_demand.leases import Lease
from worker.on_demand.store import Entry, Store
from worker.protocol.messages import tell

_log = logging.getLogger("worker")
_EVERY_S = 0.25  # Between two looks at how far it is.
_UNKNOWN = Record(0, 0, None)
_STEP = 1 << 30  # Bytes of room that a file gets at once whose size nobody tells.


@dataclass
class Wish:
    """A model that a job needs, and how far it is.

    Attributes:
        shown: what it is called in messages.
        url: an address from which jobs may bring models.
        ending: of its name.
        sha256: what it must be, in lower case; None if nobody says.
        size: in bytes; 0 if that is not known yet.
        was_there: whether it need not be fetched.
    """

    shown: str
    url: str = field(repr=False)
    ending: str
    sha256: str | None = None
    size: int = 0
    was_there: bool = False

    @property
    def key(self) -> str:
        """Different for each address and hash, and for what the file is read as."""
        return _digest(self.url, self.sha256 or "", self.ending)


@dataclass(frozen=True)
class Kept:
    """A file in the store.

    ``name_key``: different for each address and hash, and also for each content that one address has had.
    """

    path: Path
    lease: Lease
    name_key: str


class Fetching:
    """Brings the models of one job.

    Args:
        store: where they are kept.
        connections: they say which hosts may be asked.
        timeout_s: how long all of it may take, in seconds.
    """

    def __init__(self, store: Store, connections: Connections, timeout_s: float) -> None:
        self._store, self._connections, self._timeout_s = store, connections, timeout_s
        self._halt = threading.Event()

    def bring(self, wishes: Sequence[Wish], on_event: Listener | None, stopped: threading.Event) -> dict[str, Kept]:
        """Fetch what is not there. Returns each file with its lease, by its key.

        Args:
            wishes: the models, each key once.
            on_event: hears of progress, on this thread.
            stopped: set it to stop.

        Raises:
            ModelsNotFetched: some cannot be had. What has come of them so far stays.
            JobInterrupted: it was stopped.
        """
        with unwaited_pool(AT_ONCE, self._halt) as pool:
            futures = {pool.submit(self._one, wish): wish for wish in wishes}
            try:
                self._wait(futures, on_event, stopped)
            except BaseException:
                self._halt.set()
                for future in futures:  # Some may end well all the same, and nobody takes what they have.
                    future.add_done_callback(_give_back)
                raise
        return _results(futures)

    def _wait(self, futures: dict[Future[Kept], Wish], on_event: Listener | None, stopped: threading.Event) -> None:
        """Wait until all have ended. If one cannot be had, the others go on, so that the next job finds them."""
        ends_at, told = time.monotonic() + self._timeout_s, -1
        while wait(futures, timeout=_EVERY_S).not_done:
            done, total = self._progress(futures.values())
            if total and done != told:
                told = done
                tell(on_event, ModelsFetching(done, total))
            if stopped.is_set():
                raise JobInterrupted
            if time.monotonic() > ends_at:
                raise ModelsNotFetched([self._late(wish) for future, wish in futures.items() if not future.done()])
        _, total = self._progress(futures.values())
        if -1 < told < total:
            tell(on_event, ModelsFetching(total, total))

    def _progress(self, wishes: Iterable[Wish]) -> tuple[int, int]:
        """Bytes that are there, and bytes of all that must be fetched."""
        done = total = 0
        for wish in wishes:
            if not wish.was_there and wish.size:
                file = self._store.file(wish.key, wish.ending)
                total += wish.size
                done += wish.size if file.exists() else min(left_over(file), wish.size)
        return done, total

    def _late(self, wish: Wish) -> str:
        here = left_over(self._store.file(wish.key, wish.ending))
        of_all = f" of {size_text(wish.size)}" if wish.size else ""
        return (
            f"{wish.shown}: it was not there after {self._timeout_s:g} s (MODEL_FETCH_TIMEOUT_S), {size_text(here)}"
            f"{of_all} have come: send the job again to go on there"
        )

    def _one(self, wish: Wish) -> Kept:
        """Fetch a file, unless it is there.

        Raises:
            FetchFailed: it cannot be had.
            FetchStopped: it was stopped.
        """
        try:
            lease = self._store.lease(wish.key)
        except OSError as error:
            raise FetchFailed(f"it cannot be written ({error.strerror})") from None
        try:
            file = self._store.file(wish.key, wish.ending)
            wish.was_there = self._store.has(wish.key, wish.ending)
            if not wish.was_there:
                self._fetch(wish, file)
            self._store.used(wish.key)
            _check(file)
        except FetchStopped:
            lease.end()
            raise
        except FetchFailed:
            lease.end()
            self._store.forget(wish.key, wish.ending)
            raise
        except OSError as error:
            lease.end()
            raise FetchFailed(f"it cannot be written ({error.strerror})") from None
        return Kept(file, lease, _digest(wish.key, (read_record(file) or _UNKNOWN).sha256 or ""))

    def _fetch(self, wish: Wish, file: Path) -> None:
        watch = Watch(lambda _: None, self._halt)
        remote = ask(self._connections, wish.url, watch.wait)
        if wish.sha256 and remote.sha256 and wish.sha256 != remote.sha256:
            raise FetchFailed(f"its source has another file: SHA-256 {remote.sha256}, and it must be {wish.sha256}")
        wish.size = remote.size or 0
        room = self._room(wish, watch)
        wanted = Wanted(wish.url, file, wish.sha256 or remote.sha256, remote.size)
        record = fetch_file(self._connections, wanted, Watch(room, self._halt), lambda part: _judge(part, wish.ending))
        if not wish.size:
            wish.size = record.size
            self._store.make_room(wish.key, self._entry(wish, record.size), watch.check)

    def _room(self, wish: Wish, watch: Watch) -> Callable[[int], None]:
        """Make room for a file. Returns what is called with the bytes that come: some servers tell no size."""
        came, has = 0, wish.size
        self._store.make_room(wish.key, self._entry(wish, has), watch.check)

        def more(count: int) -> None:
            nonlocal came, has
            came += count
            if came > has:
                has = came + _STEP
                self._store.make_room(wish.key, self._entry(wish, has), watch.check)

        return more

    @staticmethod
    def _entry(wish: Wish, size: int) -> Entry:
        return Entry(wish.ending, size, without_secrets(wish.url))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _check(file: Path) -> None:
    if problem := damage(file):
        raise FetchFailed(f"what was fetched is damaged: {problem}")


def _give_back(future: Future[Kept]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().lease.end()


def _results(futures: Mapping[Future[Kept], Wish]) -> dict[str, Kept]:
    """What was fetched, by its key.

    Raises:
        ModelsNotFetched: some cannot be had. Then nothing of the others is kept from being removed.
    """
    details = []
    for future, wish in futures.items():
        error = future.exception()
        if isinstance(error, FetchFailed):
            details.append(f"{wish.shown}: {error}")
        elif error is not None:
            details.append(f"{wish.shown}: Internal error: {type(error).__name__}")
            _log.error("A model was not fetched", exc_info=error)
    if details:
        for future in futures:
            _give_back(future)
        raise ModelsNotFetched(details)
    return {wish.key: future.result() for future, wish in futures.items()}


def _judge(part: Path, ending: str) -> str | None:
    if problem := damage(part, f"model{ending}"):
        return problem
    if ending in SAFE_ENDINGS:
        with part.open("rb") as file:
            if looks_pickled(file.read(4)):
                return "it is in a format that can run code when it is loaded, whatever its name says"
    return None
