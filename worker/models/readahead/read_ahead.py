"""``ReadAhead``: begins to read the model files of a workflow, and stops when they are no longer needed."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from worker.logs import one_line
from worker.models.damage import size_text
from worker.models.readahead.names import NamedModel, Workflow, in_order_of_need, named_models
from worker.models.readahead.reader import Reader, Reading
from worker.receipt.receipt import Receipt

# So much of the memory that is free may be filled. ComfyUI needs some for the weights that it makes of a file.
_SHARE = 0.7
_log = logging.getLogger("worker.models")


class Models(Protocol):
    """Finds the files that a workflow names."""

    def outputs(self, workflow: Workflow) -> list[str]:
        """Ids of the nodes that save or show something."""

    def find(self, named: NamedModel) -> Path | None:
        """The file that is meant; None if that is not known."""


class Ahead:
    """What is read ahead for one job. As a context manager it stops if the block raises."""

    def __init__(self, end: Callable[[Reading, bool], None] | None = None) -> None:
        self.reading = Reading()
        self._end = end
        self._thread: threading.Thread | None = None

    def begin(self, thread: threading.Thread) -> None:
        """Let ``thread`` do it.

        Raises:
            RuntimeError: the system gives no further thread.
        """
        thread.start()
        self._thread = thread

    def wait(self, timeout_s: float) -> bool:
        """Wait until all is read or it has stopped. Returns False if that took too long."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def stop(self, *, were_loaded: bool = False) -> None:
        """Read nothing more. ``were_loaded``: the job has ended well, so that ComfyUI has its models now."""
        if self._end is not None:
            self._end(self.reading, were_loaded)

    def seconds(self) -> dict[str, float]:
        """The job's seconds of ``read_ahead``; empty if nothing was read."""
        return {"read_ahead": self.reading.seconds} if self.reading.done else {}

    def note_in(self, receipt: Receipt | None) -> None:
        """Note in the receipt of the job when it was read, if anything was."""
        if receipt is not None and self.reading.done:
            receipt.note("model_read_ahead", *self.reading.span)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None:
            self.stop()


class ReadAhead:
    """Reads models ahead, for one job or for several at a time. Any thread may use it.

    Args:
        free_memory: returns how many bytes the container can still take; pages of files count as free.
    """

    def __init__(self, free_memory: Callable[[], int]) -> None:
        self._free_memory = free_memory
        self._reader = Reader()
        self._readings: set[Reading] = set()
        # What the last job named. It is not read again once ComfyUI has loaded it: where memory is short, the kernel
        # may have dropped the files' pages, but ComfyUI still holds the weights.
        self._last: frozenset[tuple[str, str, str]] = frozenset()
        self._is_loaded = False

    def begin(self, workflow: Workflow, models: Callable[[], Models]) -> Ahead:
        """Begin to read the model files that ``workflow`` names. The caller does not wait, and nothing is raised.

        Args:
            workflow: a graph that is allowed to run.
            models: makes what finds the files. It is called on another thread, since a volume may be slow to answer.
        """
        named = named_models(workflow)
        names = frozenset((each.class_type, each.input_name, each.name) for each in named)
        is_loaded = self._is_loaded and names <= self._last
        self._last, self._is_loaded = names, is_loaded
        if is_loaded or not names:
            return Ahead()

        def end(reading: Reading, were_loaded: bool) -> None:
            self._stop(reading)
            if were_loaded and names == self._last:
                self._is_loaded = True

        ahead = Ahead(end)
        self._readings.add(ahead.reading)
        context = contextvars.copy_context()  # So that log lines carry the job's id.
        arguments = (self._read, ahead.reading, workflow, named, models)
        try:
            ahead.begin(threading.Thread(target=context.run, args=arguments, name="read-ahead-plan", daemon=True))
        except RuntimeError:  # The system gives no further thread.
            self._stop(ahead.reading)
        return ahead

    def close(self) -> None:
        """Stop all that is read."""
        for reading in list(self._readings):
            self._stop(reading)

    def _stop(self, reading: Reading) -> None:
        self._reader.stop(reading)
        self._readings.discard(reading)

    def _read(
        self, reading: Reading, workflow: Workflow, named: Sequence[NamedModel], models: Callable[[], Models]
    ) -> None:
        try:
            found = models()
            others = sum(each.planned for each in list(self._readings) if each is not reading)
            room = int(self._free_memory() * _SHARE) - others
            for each in in_order_of_need(named, workflow, found.outputs(workflow)):
                if reading.is_closed:
                    break
                with contextlib.suppress(OSError):  # ComfyUI says what is wrong with it, if it needs the file.
                    path = found.find(each)
                    if path is not None:
                        self._reader.add(reading, path, room - reading.planned)
            self._reader.wait(reading)
        except Exception as error:  # noqa: BLE001 - the job does not need this, and names are a caller's.
            _log.warning("Models are not read ahead: %s: %s", type(error).__name__, one_line(str(error)))
        if reading.done:
            _tell(reading)


def _tell(reading: Reading) -> None:
    speed = reading.done / max(reading.seconds, 1e-3) / 1e6
    done, seconds = size_text(reading.done), reading.seconds
    text = f"Read {done} of {reading.files} model file(s) ahead in {seconds:.2f} s ({speed:.0f} MB/s)"
    if reading.is_cut:
        text += "; the job ended before the rest was read"
    fields = {"read_ahead": {"bytes": reading.done, "seconds": round(reading.seconds, 4), "files": reading.files}}
    _log.info(text, extra={"fields": fields})
