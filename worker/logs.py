"""Sets up the process's log: its format and its levels. Removes secrets and base64 from each line."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import re
import sys
import sysconfig
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO
from urllib.parse import quote

from worker.events import Notice
from worker.settings import Settings

# Copies of the standard streams, which ComfyUI's wrappers write to. A copy that is garbage collected closes its file,
# so they are kept here.
_wrapped: list[TextIO] = []
# Libraries that log so much that filtering their lines would take noticeable time.
_QUIET = ("PIL", "alembic", "asyncio", "boto3", "botocore", "filelock", "s3transfer", "urllib3")
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib", "stdlib", "platstdlib")})
# Base64 in one piece, or in lines as some encoders write it. Line breaks may be escaped, as in a repr. The lookbehind
# and the possessive quantifiers prevent backtracking: otherwise a caller's text could keep the search busy for minutes.
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{200,}+={0,2}"
    r"|[A-Za-z0-9+/_-]{50,}+(?:(?:\\r)?(?:\\n|\s)++[A-Za-z0-9+/_-]{50,}+){2,}[A-Za-z0-9+/_=\s-]*)"
)
_MAX_LENGTH = 16_000
_MAX_ID = 200
_MOST_SEARCHED = 1_000_000  # Base64 is searched for in so many characters of a line, secrets in all of them.
_SHORTEST_SECRET = 6  # If a caller's key were "e", masking it would make all lines unreadable.

_job_id: ContextVar[str | None] = ContextVar("worker_job_id", default=None)
# The secrets of all jobs that run. A thread that a node has started does not know its job. So every line hides all
# of these secrets.
_job_secrets: Counter[str] = Counter()
_lock = threading.Lock()


@contextlib.contextmanager
def job_lines(job_id: str, secrets: Iterable[str | None] = ()) -> Iterator[None]:
    """Within this context, log lines carry ``job_id``, and no line of the process shows any of ``secrets``."""
    token = _job_id.set(job_id)
    hidden = _forms(secret for secret in secrets if secret and len(secret) >= _SHORTEST_SECRET)
    with _lock:
        _job_secrets.update(hidden)
    try:
        yield
    finally:
        _job_id.reset(token)
        with _lock:
            _job_secrets.subtract(hidden)
            for secret in hidden:
                if _job_secrets[secret] <= 0:
                    del _job_secrets[secret]


def set_up_logging(settings: Settings, *, as_json: bool) -> None:
    """Give the process one log handler: JSON lines on standard output, or plain lines on standard error."""
    handler = logging.StreamHandler(sys.stdout if as_json else sys.stderr)
    secrets = settings.secrets()
    handler.setFormatter(_JsonFormatter(secrets) if as_json else _PlainFormatter(secrets))
    handler.addFilter(_no_library_chatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.comfy_log_level)
    logging.getLogger("worker").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # ``_message`` handles lines that cannot be formatted.
    threading.excepthook = _log_thread_error


def log_notice(notice: Notice) -> None:
    """Log ``notice``, if it is a warning as one."""
    logging.getLogger("worker").log(logging.WARNING if notice.is_warning else logging.INFO, "%s", notice.text)


def _log_thread_error(error: threading.ExceptHookArgs) -> None:
    if error.exc_value is not None and error.exc_type is not SystemExit:
        logging.getLogger("worker").error("A thread raised", exc_info=error.exc_value)


def _forms(secrets: Iterable[str]) -> frozenset[str]:
    """``secrets`` as they are, and as they look in a repr, in JSON and in a URL."""
    return frozenset(
        form
        for secret in secrets
        for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="", errors="replace"))
    )


class _Formatter(logging.Formatter):
    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__("%(levelname)s %(message)s")
        self._secrets = _forms(secrets)

    def _clean(self, text: str) -> str:
        with _lock:
            secrets = [*self._secrets, *_job_secrets]
        for secret in sorted(secrets, key=len, reverse=True):  # The longest first: one may be the beginning of another.
            text = text.replace(secret, "********")
        length = len(text)
        text = _BASE64.sub(lambda found: f"<{len(found[0])} characters of base64>", text[:_MOST_SEARCHED])
        if len(text) <= _MAX_LENGTH and length <= _MOST_SEARCHED:
            return text
        return f"{text[:_MAX_LENGTH]} … ({length} characters)"


class _PlainFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        job_id = _job_id.get()
        record.msg, record.args = _message(record), None
        text = self._clean(super().format(record))
        return f"[{one_line(job_id)}] {text}" if job_id else text


class _JsonFormatter(_Formatter):
    """One JSON object a line, with the keys that RunPod's SDK uses: ``requestId``, ``message``, ``level``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "requestId": (_job_id.get() or "")[:_MAX_ID] or None,
            "logger": record.name,
            "message": self._clean(_message(record)),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self._clean(self.formatException(record.exc_info))
        return json.dumps({key: value for key, value in line.items() if value is not None})


def _message(record: logging.LogRecord) -> str:
    """The text of a line. If its arguments do not fit its format, the format alone."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError, IndexError):
        return f"{record.msg} (arguments that do not fit)"


def one_line(text: str, max_length: int = 100) -> str:
    """A caller's ``text`` made fit for a log line: printable, short, on one line."""
    text = text[: max_length + 1].encode("unicode_escape").decode("ascii")
    return text if len(text) <= max_length else text[:max_length] + "…"


def _no_library_chatter(record: logging.LogRecord) -> bool:
    return (
        record.levelno >= logging.WARNING
        or record.name.partition(".")[0] == "worker"
        or not _is_library(record.pathname)
    )


@functools.lru_cache(maxsize=4096)
def _is_library(path: str) -> bool:
    return path.startswith(_LIBRARIES)


@contextlib.contextmanager
def own_root() -> Iterator[None]:
    """Keep the root logger's handlers and level, and the process's streams, while a node pack is imported."""
    root, streams = logging.getLogger(), (sys.stdout, sys.stderr)
    handlers, level, outer = list(root.handlers), root.level, vars(root).get("addHandler")
    root.addHandler = lambda hdlr: None  # type: ignore[method-assign] # noqa: ARG005
    try:
        yield
    finally:
        del root.addHandler
        if outer is not None:  # A pack may need another one.
            root.addHandler = outer  # type: ignore[method-assign]
        sys.stdout, sys.stderr = streams
        root.handlers[:] = handlers
        root.setLevel(level)


@contextlib.contextmanager
def own_logging(settings: Settings) -> Iterator[None]:
    """Keep the process's streams, and the root logger's handlers and level, as they are while ComfyUI starts.

    ComfyUI wraps ``sys.stdout`` and ``sys.stderr``, and its wrappers close them at the end. So it gets copies. ComfyUI
    also adds a handler to the root logger, which would print every line twice. So adding a handler has no effect here.
    """
    root = logging.getLogger()
    level = root.level if root.handlers else logging.getLevelName(settings.comfy_log_level)
    if not root.handlers:
        root.addHandler(_plain_handler())
    handlers = list(root.handlers)
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = copies = _copy(streams[0], 1), _copy(streams[1], 2)
    _wrapped.extend(copies)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    root.addHandler = lambda hdlr: None  # type: ignore[method-assign] # noqa: ARG005
    try:
        yield
    finally:
        del root.addHandler
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = streams
        root.handlers[:] = handlers
        root.setLevel(level)


def _copy(stream: TextIO, default: int) -> TextIO:
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError):  # The stream has no file, as in a notebook.
        descriptor = os.dup(default)
    return io.TextIOWrapper(os.fdopen(descriptor, "wb"), encoding="utf-8", errors="replace", line_buffering=True)


def _plain_handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    return handler
