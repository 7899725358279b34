"""Gives ComfyUI its event loop, also where one runs already: in a notebook, or in a coroutine."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, _get_running_loop, _set_running_loop, tasks
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def server_loop() -> Iterator[AbstractEventLoop]:
    """A new event loop, for ComfyUI's server. Within this context, no code finds another loop on this thread.

    Python runs one loop on a thread at a time. The loop that runs here, if there is one, stands still for as long as
    the context is open. So it is put out of sight with its task: ComfyUI can run its own loop, and node packs can use
    asyncio as in a stock start. Everything happens on the calling thread, which may be the main one.
    """
    loop, outer = asyncio.new_event_loop(), _get_running_loop()
    if outer is None:
        yield loop
        return
    task = asyncio.current_task(outer)
    if task is not None:
        tasks._leave_task(outer, task)
    _set_running_loop(None)
    asyncio.set_event_loop(loop)  # As a stock start does. Otherwise ``asyncio.get_event_loop`` finds the outer one.
    try:
        yield loop
    finally:
        asyncio.set_event_loop(outer)
        _set_running_loop(outer)
        if task is not None:
            tasks._enter_task(outer, task)


@contextmanager
def inside(loop: AbstractEventLoop) -> Iterator[None]:
    """Within this context, code on this thread finds ``loop`` running, as a node pack does that ComfyUI imports.

    The loop may run on another thread. The one that runs on this thread, if there is one, is put out of sight.
    """
    outer = _get_running_loop()
    task = asyncio.current_task(outer) if outer is not None and outer is not loop else None
    if outer is not None and task is not None:
        tasks._leave_task(outer, task)
    _set_running_loop(loop)
    try:
        yield
    finally:
        _set_running_loop(outer)
        if outer is not None and task is not None:
            tasks._enter_task(outer, task)
