"""Memory shared with the heartbeat process: whether the worker lives, which jobs it has, and who answers them.

Either process may answer a job, but only one does. The one that wants to answer claims the job first: it locks the byte
of the shared file whose offset is the job's number. The kernel gives the lock to one process only, and ends it when
that process dies. No two jobs have the same number, so no claim can be for the wrong job.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import mmap
import os
from collections.abc import Iterator, Mapping
from typing import Any

from worker.events import DeviceDoubted, Event, Listener, NodeOutput, NodeStarted, PromptEnded, PromptStarted
from worker.redact import encodable
from worker.runpod.job_slot import SLOT_SIZE, JobSlot, SeenJob

_TICKS, _ENDS_AT, _HAS_DEVICE = range(3)  # Words of eight bytes in the first slot, which belongs to no job.
_MAX_NODE = 200
_CLAIM_PAUSE_S = 0.01


class Board:
    """The shared memory. Make it before the heartbeat process is forked.

    Args:
        capacity: how many jobs the worker may have at once.
    """

    def __init__(self, capacity: int) -> None:
        size = (1 + capacity) * SLOT_SIZE
        self._file = os.memfd_create("worker-jobs")
        os.truncate(self._file, size)
        memory = memoryview(mmap.mmap(self._file, size))
        self._words = memory[:SLOT_SIZE].cast("Q")
        self._slots = [JobSlot(memory[start : start + SLOT_SIZE]) for start in range(SLOT_SIZE, size, SLOT_SIZE)]
        self._numbers = itertools.count(1)
        self._mine: dict[str, BoardJob] = {}

    def tick(self, ends_at: float) -> None:
        """Tell that the worker lives. ``ends_at``: when it will be ended, by ``time.monotonic``; 0.0 if at no time."""
        self._words[_ENDS_AT] = round(ends_at * 1e9)
        self._words[_TICKS] += 1

    @property
    def ticks(self) -> int:
        """How often the worker has told that it lives."""
        return self._words[_TICKS]

    @property
    def ends_at(self) -> float:
        """When the worker will be ended, by ``time.monotonic``; 0.0 if at no time."""
        return self._words[_ENDS_AT] / 1e9

    @property
    def has_device(self) -> bool:
        """Whether the worker computes on a CUDA device."""
        return self._words[_HAS_DEVICE] == 1

    @has_device.setter
    def has_device(self, has: bool) -> None:
        self._words[_HAS_DEVICE] = has

    @contextlib.contextmanager
    def job(self, job_id: str) -> Iterator[BoardJob]:
        """Within this context the worker has the job. The heartbeat process may answer it."""
        slot = next(slot for slot in self._slots if slot.number == 0)
        number = next(self._numbers)
        slot.open(number, job_id)
        job = self._mine[job_id] = BoardJob(self, slot, number)
        try:
            yield job
        finally:
            del self._mine[job_id]
            job.withdraw()
            self.give_back(number)

    def withdraw(self, job_id: str) -> None:
        """Let nobody answer the job, since the platform has stopped it."""
        if job_id in self._mine:
            self._mine[job_id].withdraw()

    def answered(self) -> list[str]:
        """The jobs that the heartbeat process has answered, although the worker goes on."""
        return [job_id for job_id, job in list(self._mine.items()) if job.is_answered]

    def seen(self) -> list[SeenJob]:
        """The jobs that the worker has."""
        return [job for slot in self._slots if (job := slot.read()) is not None]

    def mark_answered(self, job: SeenJob) -> bool:
        """Tell the worker that the heartbeat process answers ``job``, which it has claimed. False: the job is gone."""
        slot = next((slot for slot in self._slots if slot.number == job.number), None)
        if slot is not None:
            slot.mark_answered(job.number)
        return slot is not None

    def claim(self, number: int) -> bool:
        """Reserve the right to answer a job. False: the other process has it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return False
        return True

    def give_back(self, number: int) -> None:
        """End a claim."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)


class BoardJob:
    """A job on the board, for the worker."""

    def __init__(self, board: Board, slot: JobSlot, number: int) -> None:
        self._board, self._slot, self._number = board, slot, number

    @property
    def is_answered(self) -> bool:
        """Whether the heartbeat process has answered the job."""
        return self._slot.answered == self._number

    def withdraw(self) -> None:
        """Let the heartbeat process not answer the job any more."""
        if self._slot.number == self._number:
            self._slot.close()

    async def claim(self) -> bool:
        """Reserve the right to answer the job. False: the heartbeat process has answered it."""
        while not self._board.claim(self._number):
            if self.is_answered:
                return False
            await asyncio.sleep(_CLAIM_PAUSE_S)  # The heartbeat process decides, and may give its claim back.
        return not self.is_answered

    def heard_by(self, listener: Listener) -> Listener:
        """A listener that notes events of the job on the board, and passes them to ``listener``."""

        def hear(event: Event) -> None:
            if self._slot.number == self._number:
                self._note(event)
            listener(event)

        return hear

    def _note(self, event: Event) -> None:
        match event:
            case NodeStarted(display_node_id=node_id, class_type=class_type):
                self._slot.set_node(encodable(f"{node_id} ({class_type})"[:_MAX_NODE]))
            case NodeOutput(node_id=node_id, output=output):
                for key, values in output.items():
                    for entry in values if isinstance(values, list | tuple) else ():
                        if isinstance(entry, Mapping) and entry.get("type") == "output":
                            self._slot.add_file(node_id, str(key), _texts(entry))
            case DeviceDoubted(error=error):
                self._slot.set_fault(error)
            case PromptStarted() | PromptEnded():
                self._slot.set_runs(runs=isinstance(event, PromptStarted))
            case _:
                pass


def _texts(entry: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(entry.get(key) or "") for key in ("filename", "subfolder", "type")}
