"""Shows what is read and fetched: a bar for each file and one for all of them, with rate and rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from worker.fetch.download import Wanted
from worker.models.damage import size_text

_LINE_S = 10.0


class Bars:
    """Bars at a terminal. Elsewhere, such as in the log of a build, a line every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<36.36}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._lock = threading.Lock()
        self._tasks: dict[Wanted, TaskID] = {}
        self._all: TaskID | None = None
        self._total: int | None = 0
        self._come, self._began, self._told = 0, time.monotonic(), time.monotonic()

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, files: Sequence[Wanted]) -> None:
        """These files will come."""
        sizes = [file.size for file in files]
        self._total = None if None in sizes else sum(size or 0 for size in sizes)
        for file in files:
            self._tasks[file] = self._progress.add_task(escape(file.target.name), total=file.size)
        if len(files) > 1:
            self._all = self._progress.add_task("together", total=self._total)

    def received(self, file: Wanted, count: int) -> None:
        """``count`` bytes of ``file`` are there; a negative number takes some back."""
        self._progress.advance(self._tasks[file], count)
        self._more(count, "fetched")

    def reading(self, count: int) -> None:
        """``count`` bytes of files that are there were read, to find their SHA-256."""
        with self._lock:
            if self._all is None:
                self._all = self._progress.add_task("reading files, to check them", total=None)
        self._more(count, "read")

    def _more(self, count: int, done: str) -> None:
        if self._all is not None:
            self._progress.advance(self._all, count)
        if self._console.is_terminal:
            return
        with self._lock:
            self._come += count
            now = time.monotonic()
            if now - self._told < _LINE_S:
                return
            self._told = now
            rate = self._come / (now - self._began)
        text = f"{size_text(max(0, self._come))} {done}"
        if self._total:
            left = max(0.0, (self._total - self._come) / rate) if rate > 0 else 0.0
            text += f" of {size_text(self._total)}, {size_text(int(rate))} a second, {left:.0f} s left"
        self._console.print(text, highlight=False, markup=False)
