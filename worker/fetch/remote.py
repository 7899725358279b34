"""Asks a server about a file: how large it is, its SHA-256, its exact revision, and whether it can be had at all."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit, urlunsplit

from worker.errors import FetchFailed
from worker.fetch.address import HF_HOST, TOKEN_VARIABLES, host_of
from worker.fetch.connections import Answer, Connections, Unreachable

_SHA256 = re.compile(r'(?:W/)?"?([0-9a-fA-F]{64})"?')
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HF_PATH = re.compile(r"(/(?:datasets/|spaces/)?[^/]+/[^/]+)/(resolve|blob|raw)/([^/]+)/(.+)")
ATTEMPTS = 5
LONGEST_WAIT_S = 60.0  # If a server asks for more patience, the person at the terminal is asked instead.
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server.

    Attributes:
        url: where it was asked for.
        size: in bytes; None if the server does not tell.
        sha256: in lower case; None if the server does not tell.
        commit: the commit that the revision in a Hugging Face URL stands for now.
    """

    url: str
    size: int | None
    sha256: str | None
    commit: str | None

    @property
    def exact_url(self) -> str:
        """``url`` with the commit in place of a branch or a tag, if that is known."""
        parts = urlsplit(self.url)
        found = _HF_PATH.fullmatch(parts.path) if host_of(self.url) == HF_HOST else None
        if not found or not self.commit:
            return self.url
        return urlunsplit(parts._replace(path=f"{found[1]}/resolve/{self.commit}/{found[4]}", query=""))


def ask(connections: Connections, url: str, wait: Callable[[float], None] = time.sleep) -> RemoteFile:
    """Ask for the first byte of ``url``. Some hosts refuse HEAD, and signed addresses are for GET only.

    Args:
        connections: they say which hosts may be asked.
        url: an address that was checked.
        wait: sleeps for some seconds.

    Raises:
        FetchFailed: the file cannot be had.
    """

    def once() -> RemoteFile:
        with connections.open(url, {"Range": "bytes=0-0"}) as answer:
            if answer.status != 416:  # An empty file has no first byte.
                check_status(answer, url)
                check_kind(answer, url)
            return RemoteFile(url, size_of(answer), _sha256_of(answer), _commit_of(answer))

    return patiently(once, wait)


def patiently(action: Callable[[], RemoteFile], wait: Callable[[float], None]) -> RemoteFile:
    """Do ``action``; again if its server asks for patience or does not answer.

    Raises:
        FetchFailed: the file cannot be had.
    """
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except (Unreachable, Busy) as error:
            if attempt == ATTEMPTS - 1:
                raise FetchFailed(str(error)) from None
            wait(pause_after(error, attempt))
    raise AssertionError  # Not reached.


class Busy(Exception):
    """The server asks to come back later. ``seconds``: when; None if it does not say."""

    def __init__(self, status: int, seconds: float | None) -> None:
        super().__init__(f"its server is busy ({status})")
        self.seconds = seconds


def pause_after(error: Exception, attempt: int) -> float:
    """Seconds to wait before the next attempt. ``attempt``: the number of those that failed before this one."""
    asked = error.seconds if isinstance(error, Busy) else None
    return asked if asked is not None else _PAUSES_S[min(attempt, len(_PAUSES_S) - 1)]


def check_status(answer: Answer, url: str) -> None:
    """Check that a server sends the file.

    Raises:
        FetchFailed: it refuses. The text says what to do.
        Busy: it may send it later.
    """
    status = answer.status
    if status in (200, 206):
        return
    if status == 429 or status >= 500:
        seconds = _retry_after(answer)
        if seconds is not None and seconds > LONGEST_WAIT_S:
            raise FetchFailed(f"its server answered {status} and asks to wait {seconds:.0f} s: try again then")
        raise Busy(status, seconds)
    if status in (401, 403):
        raise FetchFailed(_who_may(status, url))
    if status in (404, 410):
        raise FetchFailed(f"it is not there ({status}): was it renamed or deleted?")
    raise FetchFailed(f"its server answered {status}")


def _who_may(status: int, url: str) -> str:
    variable = TOKEN_VARIABLES.get(host_of(url))
    if variable is None:
        return f"its server refuses it ({status}): it may need a login"
    return (
        f"its server refuses it ({status}): set {variable} to a token that may read it, and accept its licence on its "
        "page if it asks for that"
    )


def check_kind(answer: Answer, url: str) -> None:
    """Refuse a web page, which a server may send in place of a file, and content that is packed for the way."""
    if answer.header("Content-Type").lower().startswith("text/html"):
        variable = TOKEN_VARIABLES.get(host_of(url))
        login = f"a login ({variable})" if variable else "a login"
        raise FetchFailed(f"its server sends a web page, not a file: it may need {login}, or another address")
    if answer.header("Content-Encoding") not in ("", "identity"):
        raise FetchFailed("its server sends it compressed, though that was not asked for")


def size_of(answer: Answer) -> int | None:
    """The bytes of the whole file, as the server tells it."""
    if found := content_range(answer):
        return found[1]
    linked, length = answer.told.get("x-linked-size", ""), answer.header("Content-Length")
    told = length if answer.status == 200 and length else linked
    return int(told) if told.isdecimal() else None


def content_range(answer: Answer) -> tuple[int | None, int | None] | None:
    """The first byte and the size of the whole file, from ``Content-Range``; None for what it does not tell."""
    found = _RANGE.fullmatch(answer.header("Content-Range"))
    if found is None or answer.status not in (206, 416):
        return None
    return int(found[1]) if found[1] else None, int(found[3]) if found[3] != "*" else None


def _sha256_of(answer: Answer) -> str | None:
    found = _SHA256.fullmatch(answer.told.get("x-linked-etag", ""))
    return found[1].lower() if found else None


def _commit_of(answer: Answer) -> str | None:
    commit = answer.told.get("x-repo-commit", "")
    return commit if _COMMIT.fullmatch(commit) else None


def _retry_after(answer: Answer) -> float | None:
    text = answer.header("Retry-After").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
