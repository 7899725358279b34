"""Shows a run's progress in the terminal, from its events."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from worker.events import Event, NodeProgress, NodesCached, NodeStarted, Notice, PromptEnded, PromptStarted
from worker.progress.job_progress import JobProgress


class TerminalProgress:
    """Two bars: nodes of the workflow, and steps of the node that runs. Call it with each event, on any thread.

    If ``console`` is no terminal, one line is written for each node instead.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<32.32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # What a program prints into a file must not go to the terminal.
            disable=not console.is_terminal,
        )
        self._nodes = self._progress.add_task("starting", total=None)
        self._steps = self._progress.add_task("", total=None, visible=False)
        self._job = JobProgress()

    def __enter__(self) -> TerminalProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, notice: Notice) -> None:
        """Show ``notice`` in the place of the current node. A warning stays on the screen."""
        if notice.is_warning or not self._console.is_terminal:
            self._console.print(str(notice), highlight=False, markup=False)
        else:
            self._progress.update(self._nodes, description=notice.text)

    def __call__(self, event: Event) -> None:
        self._job(event)
        match event:
            case PromptStarted(node_count=count):
                self._progress.update(self._nodes, description="running", total=count, completed=0)
            case NodesCached():
                self._progress.update(self._nodes, completed=self._job.completed)
            case NodeStarted():
                self._start()
            case NodeProgress(value=value, maximum=maximum):
                self._progress.update(self._steps, completed=value, total=maximum, visible=True)
            case PromptEnded(status="success"):
                self._progress.update(self._nodes, completed=self._job.completed, description="done")
            case _:
                pass

    def _start(self) -> None:
        label, done, total = self._job.label, self._job.completed, self._job.node_count
        self._progress.update(self._nodes, description=label, completed=done)
        self._progress.update(self._steps, description=f"  {label}", completed=0, total=None, visible=False)
        if not self._console.is_terminal:
            self._console.print(f"[{done + 1}/{total}] {label}", highlight=False, markup=False)
