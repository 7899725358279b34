"""Fetches one file: goes on where it ended, checks what came, and gives the file its name when it is whole."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from urllib3.exceptions import HTTPError

from worker.errors import FetchFailed
from worker.fetch.address import without_secrets
from worker.fetch.connections import Answer, Connections, Unreachable
from worker.fetch.part import Part, locked
from worker.fetch.records import Record, hash_of, read_record, remember
from worker.fetch.remote import ATTEMPTS, Busy, check_kind, check_status, content_range, pause_after, size_of

_PIECE = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FetchStopped(Exception):
    """Somebody has stopped it. What has come so far stays, and the next attempt goes on there."""


class DiskFull(FetchFailed):
    """There is no room on the disk. What has come so far stays."""


@dataclass(frozen=True)
class Wanted:
    """A file to fetch.

    Attributes:
        url: an address that was checked.
        target: the file. Its folder is made.
        sha256: what it must be, in lower case; None if nobody says.
        size: how many bytes it must have; None if nobody says.
    """

    url: str
    target: Path
    sha256: str | None = None
    size: int | None = None


class Watch:
    """Who waits for a file: hears of its progress, and may stop it.

    ``on_bytes``: called with the bytes of each piece; a negative number takes back what was of no use.
    """

    def __init__(self, on_bytes: Callable[[int], None], stop: threading.Event) -> None:
        self._stop = stop
        self._on_bytes = on_bytes

    def moved(self, count: int) -> None:
        """``count`` bytes more are there.

        Raises:
            FetchStopped: it is stopped.
        """
        self._on_bytes(count)
        self.check()

    def check(self) -> None:
        """Raises FetchStopped: it is stopped."""
        if self._stop.is_set():
            raise FetchStopped

    def wait(self, seconds: float) -> None:
        """Wait, unless it is stopped."""
        self._stop.wait(seconds)
        self.check()


def fetch_file(
    connections: Connections, wanted: Wanted, watch: Watch, judge: Callable[[Path], str | None] = lambda _: None
) -> Record:
    """Fetch a file, or wait for another process that does.

    Args:
        connections: they say which hosts may be asked.
        wanted: the file.
        watch: hears of progress.
        judge: says why a file that has come is of no use; None if it looks usable. It gets the part's path.

    Raises:
        FetchFailed: it cannot be had, is not what it must be, or a file is there with other content.
        FetchStopped: somebody has stopped it.
    """
    try:
        with locked(wanted.target, watch.check):
            if os.path.lexists(wanted.target):
                return _that_is_there(wanted, watch)
            part = Part(wanted.target, without_secrets(wanted.url) + (wanted.sha256 or ""))
            with part.opened(watch.moved):
                had = part.size
                _fill(connections, wanted, part, watch)
                if had and wanted.sha256 not in (None, part.sha256):  # What was left of an earlier run may be to blame.
                    watch.moved(-part.size)
                    part.begin("")
                    _fill(connections, wanted, part, watch)
                _check_content(wanted, part, judge)
                part.finish()
            return remember(wanted.target, part.sha256, without_secrets(wanted.url))
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull("the disk is full: make room, and run it again to go on") from None
        raise FetchFailed(f"it cannot be written ({error.strerror})") from None


def _that_is_there(wanted: Wanted, watch: Watch) -> Record:
    """What another process has fetched meanwhile."""
    target = wanted.target
    if not target.is_file():
        raise FetchFailed("something of this name is there that is no file, and stays")
    record = read_record(target)
    if record is None or record.sha256 is None:
        record = remember(target, hash_of(target, watch.moved))
    if (wanted.sha256 or record.sha256) != record.sha256 or (wanted.size or record.size) != record.size:
        raise FetchFailed("a file of this name is there with other content, and stays")
    return record


def _fill(connections: Connections, wanted: Wanted, part: Part, watch: Watch) -> None:
    """Fetch what ``part`` lacks. A connection that breaks is opened again, as long as more comes than ever before.

    A server that tells a wrong size would otherwise send the same for ever.
    """
    failures, most = 0, part.size
    while True:
        try:
            if _receive(connections, wanted, part, watch):
                return
            problem: Exception = Unreachable("its server ended the connection")
        except (Unreachable, Busy) as error:
            problem = error
        failures = 0 if part.size > most else failures + 1
        most = max(most, part.size)
        if failures >= ATTEMPTS:
            raise FetchFailed(f"{problem}; what has come so far stays, and the next run goes on there")
        watch.wait(pause_after(problem, failures))


def _receive(connections: Connections, wanted: Wanted, part: Part, watch: Watch) -> bool:
    """Read one answer into ``part``. Returns whether the file is whole."""
    if wanted.sha256 and part.size and part.size == wanted.size:  # Otherwise only the server knows what it is.
        return True
    with connections.open(wanted.url, _range(wanted, part)) as answer:
        place = content_range(answer)
        if answer.status == 416:
            return _at_the_end(part, watch, place[1] if place else None)
        check_status(answer, wanted.url)
        check_kind(answer, wanted.url)
        total = _agreed_size(answer, wanted)
        if answer.status == 200 or place is None or place[0] != part.size:
            if answer.status == 206 and (place is None or place[0] != 0):
                raise FetchFailed("its server sends another part than was asked for")
            watch.moved(-part.size)
            part.begin(_validator(answer))
        _read(answer, part, watch, total)
        return part.size == total if total is not None else True


def _range(wanted: Wanted, part: Part) -> dict[str, str]:
    """Ask for what is missing, if it is certain that it fits to what is there."""
    if not part.size or not (part.validator or wanted.sha256):
        return {}
    return {"Range": f"bytes={part.size}-"} | ({"If-Range": part.validator} if part.validator else {})


def _validator(answer: Answer) -> str:
    tag = answer.header("ETag")
    return tag if tag.startswith('"') else answer.header("Last-Modified")  # A weak tag says nothing about bytes.


def _at_the_end(part: Part, watch: Watch, total: int | None) -> bool:
    if total == part.size:
        return True
    watch.moved(-part.size)
    part.begin("")
    return False


def _agreed_size(answer: Answer, wanted: Wanted) -> int | None:
    total = size_of(answer)
    if wanted.size is not None and total is not None and total != wanted.size:
        raise FetchFailed(f"its server now sends {total} bytes, and said {wanted.size} before")
    return wanted.size if total is None else total


def _read(answer: Answer, part: Part, watch: Watch, total: int | None) -> None:
    try:
        while piece := answer.raw.read1(_PIECE):  # What is there; ``read`` would wait for a whole piece.
            if total is not None and part.size + len(piece) > total:
                raise FetchFailed(f"its server sends more than the {total} bytes that it told")
            part.add(piece)
            watch.moved(len(piece))
    except (HTTPError, TimeoutError, ConnectionError):
        raise Unreachable("its server ended the connection") from None


def _check_content(wanted: Wanted, part: Part, judge: Callable[[Path], str | None]) -> None:
    if wanted.sha256 is not None and part.sha256 != wanted.sha256:
        sha256 = part.sha256
        part.drop()
        raise FetchFailed(f"it is another file: its SHA-256 is {sha256}, and must be {wanted.sha256}")
    if problem := judge(part.path):
        part.drop()
        raise FetchFailed(f"what came cannot be used: {problem}")
