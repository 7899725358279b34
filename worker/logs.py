"""Logging: ComfyUI's lines at its level, libraries at WARNING, nothing twice, the process's streams left alone."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from worker.settings import Settings

# Copies of the streams that ComfyUI has wrapped: collected, they would close what its wrappers write to.
_wrapped: list[TextIO] = []
_QUIET = ("PIL", "alembic", "asyncio", "boto3", "botocore", "filelock", "s3transfer", "urllib3")


@contextlib.contextmanager
def own_logging(settings: Settings) -> Iterator[None]:
    """While ComfyUI starts: let it set up its logger as it likes, then put the process's streams and handlers back.

    ComfyUI wraps ``sys.stdout`` and ``sys.stderr`` and closes the originals with its wrappers, so it is given copies.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers.clear()
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = copies = _copy(streams[0], 1), _copy(streams[1], 2)
    _wrapped.extend(copies)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = streams
        # Whoever has set up logging keeps it, handlers and level.
        root.handlers[:] = handlers or [_plain_handler()]
        root.setLevel(level if handlers else settings.comfy_log_level)


def _copy(stream: TextIO, default: int) -> TextIO:
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError):  # A stream without a file, as in a notebook.
        descriptor = os.dup(default)
    return io.TextIOWrapper(os.fdopen(descriptor, "wb"), encoding="utf-8", errors="replace", line_buffering=True)


def _plain_handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    return handler
