"""Recognises a node that waits for a person to answer in ComfyUI's page, which a worker does not have.

Some packs let a node wait until their own script in the page calls a route of theirs, with the picture that was chosen
or the text that was typed. In a worker nobody will ever call it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from types import CoroutineType
from typing import Any

from worker.embedded.pack_routes import PackRoutes

_WAITING = ("asyncio", "concurrent", "queue.py", "selectors.py", "threading.py")  # In Python's own library.
_LIBRARY = sysconfig.get_path("stdlib") + os.sep


class PageWait:
    """Looks where the node that runs stands.

    Args:
        routes: the routes of ComfyUI's server.
        loop: the event loop on which prompts run.
    """

    def __init__(self, routes: PackRoutes, loop: asyncio.AbstractEventLoop) -> None:
        self._routes, self._loop = routes, loop

    def is_waiting(self, thread: int | None) -> bool:
        """Whether the node on this thread only waits, in the code of a pack that has routes.

        Every function that the pack has called must be one of Python's own for waiting. So a node that waits for a
        library, and maybe for a download in it, is none.
        """
        waiting = {pack for files in self._stacks(thread) if (pack := self._innermost_pack(files))}
        return bool(waiting) and not waiting.isdisjoint(self._routes.packs())

    def _stacks(self, thread: int | None) -> Iterator[list[str]]:
        """The files of the functions that run or wait, innermost first: of the thread, and of each task of its loop."""
        frame, files = sys._current_frames().get(thread or 0), []
        while frame is not None:
            files.append(frame.f_code.co_filename)
            frame = frame.f_back
        yield files
        for task in asyncio.all_tasks(self._loop):
            yield list(_awaiting(task.get_coro()))[::-1]

    def _innermost_pack(self, files: Iterable[str]) -> str | None:
        """The pack that waits; None if something else does."""
        for file in files:
            if (pack := self._routes.pack_of(file)) or not _is_waiting(file):
                return pack
        return None


def _awaiting(coroutine: Any) -> Iterator[str]:
    """The files of a coroutine and of those that it awaits, outermost first."""
    while isinstance(coroutine, CoroutineType):
        yield coroutine.cr_code.co_filename
        coroutine = coroutine.cr_await


def _is_waiting(file: str) -> bool:
    return file.startswith(_LIBRARY) and PurePath(file).relative_to(_LIBRARY).parts[0] in _WAITING
