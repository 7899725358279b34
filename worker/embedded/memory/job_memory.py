"""Keeps what one job adds to this process within bounds, so that it gets an error before the kernel ends the process.

While a node handles data only, the kernel itself refuses what is too much: a batch, a text and a decoded film all come
from malloc, whoever asks for it. A node that loads models may map files of any size, so it is only watched.
"""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from worker.embedded.memory.process import ProcessMemory, Reading
from worker.engine.memory_limits import MemoryLimits
from worker.errors import JobTooLarge, OutOfMemory, WorkerError
from worker.protocol.prompt_outcome import NodeFailure

# What the kernel leaves above a job's limit: other threads work on, and some libraries end the process if they get
# nothing. The job itself is measured after each node.
_SLACK = 256_000_000
_LARGE_PIECE, _USUAL_PIECE = 64 * 1024, 32 * 1024 * 1024  # What the allocator asks the kernel for, piece by piece.
_LEAST = 64_000_000  # What a node may always take.
_MOMENT_S = 0.001  # In which no node can fill more than some ten MB.
_REFUSED = ("can't allocate memory", "cannot allocate memory", "not enough memory")
_TRIED = re.compile(r"tried to allocate (\d+) bytes")


class JobMemory:
    """What the running job takes. ``exceeded`` and ``is_nearly_out`` are for the watchdog's thread, all else is not.

    Args:
        process: the memory of this process.
        describe: names a node, which a caller knows by the given id and which is of the given class.
        start_threads: starts the threads that torch computes with. It is called before the first job, since a library
            that gets no thread ends the process.
        forget: removes a node's results from ComfyUI's cache.

    Attributes:
        limits: set them before the first job.
        refusal: the error of a job that wanted more than it may take; None if it did not.
    """

    def __init__(
        self,
        process: ProcessMemory,
        describe: Callable[[str, Any], str],
        start_threads: Callable[[], object],
        forget: Callable[[str], object],
    ) -> None:
        self.limits = MemoryLimits()
        self.process = process
        self._describe, self._forget_node = describe, forget
        self._start_threads: Callable[[], object] | None = start_threads
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self.refusal: JobTooLarge | None = None
        self._node: tuple[str, Any] | None = None
        self._plain_nodes: list[str] = []
        self._is_plain = False  # Whether a plain node runs, and the kernel's limit is set.
        self._began = 0  # What was used when the first of the plain nodes that follow each other began.
        self._spent = 0  # What the plain nodes before have added.
        self._is_jobs = False  # Whether the kernel's limit is what the job may take, and not what the container has.
        self._used_at_first: int | None = None
        self._full_at: int | None = None
        self._is_large = False  # Whether the job has taken an eighth of what it may.
        self._last: Reading | None = None  # The last reading of this job's thread, and when it was taken.
        self._read_at = 0.0

    def begin(self) -> None:
        """Begin a job, or the second try of one."""
        if self._start_threads is not None:
            self._start_threads()
            self._start_threads = None
        self.end()

    def end(self) -> None:
        """End the job. The kernel refuses nothing any more."""
        with self._lock:
            if self._is_plain or self._full_at is not None:
                self.process.lift()
            if self._is_large:
                self.process.return_what_is_freed(_USUAL_PIECE)
            self._forget()

    def _note_size(self, taken: int) -> None:
        if not self._is_large and taken > self.limits.job // 8 > 0:
            self._is_large = True
            self.process.return_what_is_freed(_LARGE_PIECE)

    def release(self) -> None:
        """Lift the kernel's limit, since a node does not stop and other threads must answer its job."""
        with self._lock:
            if self._full_at is None:
                self.process.lift()

    def drop_results(self) -> None:
        """Free what the job's plain nodes have made. Nobody will ask for it again, since the job was refused."""
        for node_id in self._plain_nodes:
            self._forget_node(node_id)
        gc.collect()  # ComfyUI keeps a node's inputs with its traceback, in a circle.
        self.process.trim()

    def enter(self, node_id: str, shown_id: str, node_class: Any, *, is_plain: bool) -> None:
        """Note that a node begins.

        Args:
            node_id: its id.
            shown_id: the id by which a caller knows it.
            node_class: its class.
            is_plain: whether it handles data only.
        """
        self._node = (shown_id, node_class)
        if is_plain:
            self._plain_nodes.append(node_id)
        if not (is_plain or self._is_plain) or not (self.limits.job or self.limits.process):
            return
        with self._lock:
            now = self._reading()
            if is_plain:
                if not self._is_plain:
                    self._began = now.used
                saves_to_memory = self.process.holds_files and getattr(node_class, "OUTPUT_NODE", False)
                self._limit(now, 2 if saves_to_memory else 1)
            else:
                self._spent = max(0, self._taken(now))
                if self._full_at is None:
                    self.process.lift()
            self._is_plain = is_plain

    def _taken(self, now: Reading) -> int:
        return self._spent + now.used - self._began

    def _limit(self, now: Reading, share: int) -> None:
        """Let the kernel give the node its share of what is left: the files that it saves may take as much again."""
        limits, used = self.limits, now.used
        of_job = (limits.job - self._taken(now)) // share + _SLACK if limits.job else limits.container
        of_container = limits.container
        if limits.process:
            of_container = max(limits.process - used, (limits.container - used) // 2) // share
        self._is_jobs = bool(limits.job) and of_job <= max(of_container, _LEAST)
        if self._full_at is None:
            self.process.limit(now.data + max(min(of_job, of_container), _LEAST))

    def leave(self) -> None:
        """Note that a node has ended well.

        Raises:
            JobTooLarge: the job has more than it may take.
        """
        if self._is_plain:
            now = self._reading()
            self._note_size(self._taken(now))
            if self._is_over(now):
                raise self._refuse()

    def _reading(self) -> Reading:
        """The memory now. For nodes that follow each other within a moment, one reading serves."""
        now = time.monotonic()
        if self._last is None or now - self._read_at > _MOMENT_S:
            self._last, self._read_at = self.process.read(), now
        return self._last

    def explain(self, error: Exception) -> None:
        """Look at an error of a node.

        Raises:
            JobTooLarge: it is there since the job may take no more.
        """
        if self._is_refused(type(error).__name__, str(error)):
            raise self._refuse() from None

    def judge(self, failure: NodeFailure | None) -> JobTooLarge | None:
        """``refusal``, also if the node failed outside of its own code."""
        if failure is not None and self.refusal is None and self._is_refused(failure.exception_type, failure.message):
            self._refuse()
        return self.refusal

    def _is_refused(self, exception_type: str, message: str) -> bool:
        if not self._is_plain or "cuda" in message.lower():
            return False
        if "MemoryError" not in exception_type and not any(sign in message.lower() for sign in _REFUSED):
            return False
        tried = _TRIED.search(message)
        return self._is_jobs or (tried is not None and 0 < self.limits.job < int(tried[1]))

    def _refuse(self) -> JobTooLarge:
        who = self._who()
        # Not the one that is raised: its traceback would keep all that the node had.
        self.refusal = self.refusal or JobTooLarge(who, self.limits.job)
        return JobTooLarge(who, self.limits.job)

    def _who(self) -> str:
        return self._describe(*self._node) if self._node is not None else "The job"

    def _is_over(self, now: Reading) -> bool:
        return 0 < self.limits.job < self._taken(now)

    def exceeded(self) -> WorkerError | None:
        """The error of a job that must be stopped, since it takes too much; None if it need not."""
        limits = self.limits
        with self._lock:
            now = self.process.read()
            if self._node is None:  # The job has not begun, or has ended.
                return None
            if self._is_plain and self._is_over(now):
                return self._refuse()
            used = now.used
            if self._used_at_first is None:
                self._used_at_first = used
            self._note_size(max(used - self._used_at_first, self._taken(now) if self._is_plain else 0))
            if not limits.process:
                return None
            # Models of earlier jobs may have taken more than the limit.
            if used <= max(limits.process, (limits.container + self._used_at_first) // 2):
                return None
            self._full_at = used
            self.process.limit(now.data + max(limits.container - used, _LEAST) // 3)
        return OutOfMemory(
            f"{self._who()}: the job was stopped, since this worker had {used / 1e6:,.0f} MB of "
            f"memory, and its container {limits.container / 1e6:,.0f} MB (MAX_RSS_MB). Use smaller images or batches"
        )

    def is_nearly_out(self) -> bool:
        """Whether a job that was stopped for its memory has taken half of what was left since then."""
        full_at, container = self._full_at, self.limits.container
        if full_at is None:
            return False
        return self.process.read().used > (full_at + container) // 2
