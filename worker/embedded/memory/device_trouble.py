"""What becomes of a run, and of the worker, when the device breaks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from worker.embedded.memory.broken_device import failure_of
from worker.embedded.memory.device import DeviceMemory
from worker.engine.graph_run import GraphRun
from worker.engine.turns import Turns
from worker.errors import DeviceFailed, WorkerDefunct
from worker.events import DeviceDoubted
from worker.protocol.messages import tell
from worker.protocol.prompt_outcome import NodeFailure

_log = logging.getLogger("worker")


class DeviceTrouble:
    """Hastens the run that leaves the device in doubt, and makes the worker defunct when the device is broken.

    Args:
        memory: finds out whether the device is broken.
        turns: the queue of runs.
    """

    def __init__(self, memory: DeviceMemory, turns: Turns) -> None:
        self._memory, self._turns = memory, turns

    def begin(self, run: GraphRun) -> None:
        """Begin a run, and to measure the device's memory.

        Raises:
            WorkerDefunct: the device broke after the run before. Another worker can do this one.
        """
        self._memory.on_doubt = partial(self._doubt, run)
        try:
            self._memory.begin()
        except RuntimeError as error:
            if self.fault(failure_of(error)):
                raise WorkerDefunct from error
            _log.warning("The device's memory cannot be measured: %s", error)

    def end(self) -> None:
        """End the run, and let go of it."""
        self._memory.on_doubt = lambda _: None

    def fault(self, failure: NodeFailure | None) -> str | None:
        """Why the device is broken; None if it works. If it is broken, the worker is defunct from now on."""
        fault = self._memory.fault(failure)
        if fault is not None:
            self._turns.retire(f"the CUDA device does not work any more ({fault})", of_device=True)
        return fault

    def rest(self, tidy_up: Callable[[], None]) -> None:
        """Tidy up between runs."""
        try:
            tidy_up()
        except RuntimeError as error:
            if not self.fault(failure_of(error)):
                raise

    def _doubt(self, run: GraphRun, text: str | None) -> None:
        """Let the run end soon, since the device may be broken; None: it is not."""
        error = device_failed(run, text) if text is not None else None
        tell(run.on_event, DeviceDoubted(str(error or "")))
        self._turns.doubt(error)


def device_failed(run: GraphRun, fault: str) -> DeviceFailed:
    """The error of a run that has broken the device."""
    return DeviceFailed(f"The GPU failed while the job ran ({run.public(fault)})")
