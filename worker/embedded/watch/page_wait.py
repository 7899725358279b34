"""Recognises a node that waits for a person to answer in ComfyUI's page, which a worker does not have.

Some packs let a node wait until their own script in the page calls a route of theirs, with the picture that was chosen
or the text that was typed. In a worker nobody will ever call it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import PurePath
from types import CodeType, CoroutineType
from typing import Any

_WAITING = ("asyncio", "concurrent", "queue.py", "selectors.py", "threading.py")  # In Python's own library.
_LIBRARY = sysconfig.get_path("stdlib") + os.sep


class PageWait:
    """Looks where the node that runs stands.

    Args:
        server: ComfyUI's ``PromptServer``.
        loop: the event loop on which prompts run.
        folders: returns the folders of node packs.
    """

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop, folders: Callable[[], Iterable[str]]) -> None:
        self._server, self._loop, self._folders = server, loop, folders

    def is_waiting(self, thread: int | None) -> bool:
        """Whether the node on this thread only waits, in the code of a pack that has routes.

        Every function that the pack has called must be one of Python's own for waiting. So a node that waits for a
        library, and maybe for a download in it, is none.
        """
        folders = tuple(os.path.join(folder, "") for folder in self._folders())  # noqa: PTH118
        packs = {pack for handler in self._handlers() if (pack := _pack(_file(handler), folders))}
        return bool(packs) and any(_innermost_pack(files, folders) in packs for files in self._stacks(thread))

    def _stacks(self, thread: int | None) -> Iterator[list[str]]:
        """The files of the functions that run or wait, innermost first: of the thread, and of each task of its loop."""
        frame, files = sys._current_frames().get(thread or 0), []
        while frame is not None:
            files.append(frame.f_code.co_filename)
            frame = frame.f_back
        yield files
        for task in asyncio.all_tasks(self._loop):
            yield list(_awaiting(task.get_coro()))[::-1]

    def _handlers(self) -> Iterator[Any]:
        """The functions behind the server's routes, also of those that were added to its application directly."""
        yield from (getattr(route, "handler", None) for route in self._server.routes)
        yield from (route.handler for route in self._server.app.router.routes())


def _awaiting(coroutine: Any) -> Iterator[str]:
    """The files of a coroutine and of those that it awaits, outermost first."""
    while isinstance(coroutine, CoroutineType):
        yield coroutine.cr_code.co_filename
        coroutine = coroutine.cr_await


def _innermost_pack(files: Iterable[str], folders: tuple[str, ...]) -> str | None:
    """The pack that waits; None if something else does."""
    for file in files:
        if (pack := _pack(file, folders)) or not _is_waiting(file):
            return pack
    return None


def _is_waiting(file: str) -> bool:
    return file.startswith(_LIBRARY) and PurePath(file).relative_to(_LIBRARY).parts[0] in _WAITING


def _file(handler: Any) -> str:
    while isinstance(handler, partial):
        handler = handler.func
    code = getattr(inspect.unwrap(handler), "__code__", None) if callable(handler) else None
    return code.co_filename if isinstance(code, CodeType) else ""


def _pack(file: str, folders: tuple[str, ...]) -> str | None:
    """The pack that a file is of, as its path in a folder of packs; None if it is of none."""
    for folder in folders:
        if file.startswith(folder):
            return folder + PurePath(file.removeprefix(folder)).parts[0]
    return None
