"""Shows the progress of a program on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars


class Progress:
    """A live bar if standard error is a terminal, otherwise a line for each part."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bars.add_task("")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def begin(self, what: str, steps: int) -> None:
        """Begin the part ``what``, which has ``steps`` steps."""
        self._bars.reset(self._task, description=what, total=steps)
        if not self._console.is_terminal:
            self.tell(what)

    def advance(self) -> None:
        """Count one more step as done."""
        self._bars.advance(self._task)

    def advance_to(self, step: int) -> None:
        """Count ``step`` steps as done."""
        self._bars.update(self._task, completed=step)

    def tell(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)
