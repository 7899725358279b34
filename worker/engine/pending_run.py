"""Submits a run to the backend, then waits for its result or stops it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from worker.engine.graph_run import Backend, GraphRun, RunResult
from worker.models.readahead.read_ahead import Ahead
from worker.receipt.current import current, enter

OnFile = Callable[[Path], None] | None
"""Called with each output file that is complete, on any thread, while the graph still runs."""
Stop = threading.Event | None
"""Set to end early what comes before a run's turn."""


class PendingRun:
    """Submits ``run`` to ``backend``. If that raises, the job's files are removed.

    ``began``: when the job began, by ``time.perf_counter``. ``ahead``: what is read ahead for it.
    """

    def __init__(self, run: GraphRun, backend: Backend, began: float, ahead: Ahead) -> None:
        self._run = run
        self._backend = backend
        self._ahead = ahead
        self._submitted = time.perf_counter()
        self._stage_s = self._submitted - began
        enter("queue")
        try:
            self._future: Future[RunResult] = backend.submit(run)
        except BaseException:
            run.models.release()
            run.workspace.close()
            raise

    def wait(self) -> RunResult:
        """Wait for the run's result.

        ``KeyboardInterrupt`` stops the run, and waits until it has stopped. A second one ends this wait.

        Raises: what the backend's future raises. Then the job's files have been removed.
        """
        try:
            return self._timed(self._future.result())
        except KeyboardInterrupt:
            self.stop()
            raise
        except BaseException:
            self._discard()
            raise

    async def arrive(self) -> RunResult:
        """``wait`` for asyncio. Cancelling the call interrupts the run and waits until it has stopped."""
        running = asyncio.wrap_future(self._future)
        # Read the exception. Otherwise asyncio logs it as never retrieved if the caller has gone.
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return self._timed(await asyncio.shield(running))
        except asyncio.CancelledError:
            await to_the_end(asyncio.to_thread(self.stop))
            raise
        except BaseException:
            self._discard()
            raise

    def stop(self) -> None:
        """Interrupt the run, wait until it has ended, and remove its files."""
        self._ahead.stop()
        self._backend.interrupt(self._run)
        self._future.exception()
        self._discard()

    def _discard(self) -> None:
        self._ahead.stop()
        self._run.models.release()
        self._run.workspace.close()

    def _timed(self, result: RunResult) -> RunResult:
        """Add the seconds of ``stage`` and of ``run``, which ends now and includes the wait for its turn.

        Beside them goes ``read_ahead``, if models were read ahead.
        """
        run_s = time.perf_counter() - self._submitted
        self._ahead.stop(were_loaded=result.status == "success")
        self._run.models.release()
        enter("collection")
        self._ahead.note_in(current())
        return replace(result, seconds={"stage": self._stage_s, **self._ahead.seconds(), "run": run_s})


class Begin(Protocol):
    """Prepares a run and submits it. ``stop``: when it is set, this ends as soon as it can."""

    def __call__(self, *, stop: Stop) -> PendingRun: ...


async def begun_on_thread(begin: Begin) -> PendingRun:
    """Call ``begin``, which takes a while, on a thread. Cancelling the call stops the run once it has begun."""
    stop = threading.Event()
    beginning = asyncio.ensure_future(asyncio.to_thread(begin, stop=stop))
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:
        stop.set()
        await to_the_end(_stop_when_begun(beginning))
        raise


async def _stop_when_begun(beginning: asyncio.Future[PendingRun]) -> None:
    await asyncio.wait([beginning])
    if beginning.exception() is None:
        await asyncio.to_thread(beginning.result().stop)


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish ``work``, even if the caller is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
