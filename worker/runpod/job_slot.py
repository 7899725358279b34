"""One job's place in the memory that the worker shares with its heartbeat process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SLOT_SIZE = 64 * 1024
_NUMBER, _ANSWERED, _RUNS, _FILES_LENGTH = range(4)  # Words of eight bytes.
_ID, _NODE, _FAULT, _FILES = 32, 1024, 2048, 3072  # Where the texts begin.


@dataclass(frozen=True)
class SeenJob:
    """A job as the heartbeat process sees it.

    Attributes:
        number: its number, which no other job of this worker has.
        job_id: RunPod's id of it.
        node: the node that runs or ran last, such as ``3 (KSampler)``; empty before the first one.
        runs: whether its graph runs.
        fault: the job's error if the device is broken, which a failure has spoken of; empty if none has.
        files: ``(node id, key, entry)`` for each file that a node has named in its ui dict.
    """

    number: int
    job_id: str
    node: str
    runs: bool
    fault: str
    files: tuple[tuple[str, str, Mapping[str, Any]], ...]


class JobSlot:
    """The place. The worker writes into it, and the heartbeat process reads.

    A word and a text are each written by one copy in C, so that the reader does not find half of one when a thread
    that writes cannot go on.
    """

    def __init__(self, memory: memoryview) -> None:
        self._bytes = memory
        self._words = memory[:_ID].cast("Q")

    @property
    def number(self) -> int:
        """The number of the job that is here; 0 if there is none."""
        return self._words[_NUMBER]

    @property
    def answered(self) -> int:
        """The number of the last job that the heartbeat process has answered."""
        return self._words[_ANSWERED]

    def open(self, number: int, job_id: str) -> None:
        """Put a job here. A job whose id is too long is left out."""
        encoded = job_id.encode("utf-8", "surrogatepass")
        if len(encoded) + 2 > _NODE - _ID:
            return
        self._words[_RUNS] = self._words[_FILES_LENGTH] = 0
        self._write(_ID, encoded)
        self._write(_NODE, b"")
        self._write(_FAULT, b"")
        self._words[_NUMBER] = number  # The last, since from now on the job is seen.

    def close(self) -> None:
        """Take the job away."""
        self._words[_NUMBER] = 0

    def mark_answered(self, number: int) -> None:
        """Note that the heartbeat process answers this job."""
        self._words[_ANSWERED] = number

    def set_runs(self, *, runs: bool) -> None:
        """Note whether the job's graph runs."""
        self._words[_RUNS] = runs

    def set_node(self, node: str) -> None:
        """Note which node runs."""
        self._write(_NODE, node.encode("utf-8", "replace")[: _FAULT - _NODE - 2])

    def set_fault(self, error: str) -> None:
        """Note what becomes of the job if the device is broken; an empty text if it is not."""
        self._write(_FAULT, error.encode("utf-8", "replace")[: _FILES - _FAULT - 2])

    def add_file(self, node_id: str, key: str, entry: Mapping[str, Any]) -> None:
        """Note a file that a node has named. Files for which there is no room are left out."""
        line = json.dumps((node_id, key, entry)).encode() + b"\n"
        start = _FILES + self._words[_FILES_LENGTH]
        if start + len(line) <= SLOT_SIZE:
            self._bytes[start : start + len(line)] = line
            self._words[_FILES_LENGTH] += len(line)

    def read(self) -> SeenJob | None:
        """The job that is here; None if there is none, or if it has just changed."""
        number = self.number
        job_id, node = self._read(_ID).decode("utf-8", "surrogatepass"), self._read(_NODE).decode("utf-8", "replace")
        fault = self._read(_FAULT).decode("utf-8", "replace")
        lines = bytes(self._bytes[_FILES : _FILES + self._words[_FILES_LENGTH]]).splitlines()
        runs = self._words[_RUNS] == 1
        if number == 0 or self.number != number:
            return None
        return SeenJob(number, job_id, node, runs, fault, tuple(tuple(json.loads(line)) for line in lines))

    def _write(self, start: int, text: bytes) -> None:
        content = len(text).to_bytes(2, "little") + text
        self._bytes[start : start + len(content)] = content

    def _read(self, start: int) -> bytes:
        length = int.from_bytes(self._bytes[start : start + 2], "little")
        return bytes(self._bytes[start + 2 : start + 2 + length])
