"""Shows a run's progress in the terminal, from its events."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from worker.events import (
    Event,
    ModelLoading,
    ModelsFetching,
    NodeProgress,
    NodesCached,
    NodeStarted,
    Notice,
    PromptEnded,
    PromptStarted,
)
from worker.progress.job_progress import JobProgress
from worker.progress.words import about_left, node_name

_PAUSE_S = 0.1  # Between two updates of a node's steps. A workflow may report many thousands of them a second.


class TerminalProgress:
    """Two bars: nodes of the workflow, and steps of the node that runs. Call it with each event, on any thread.

    If ``console`` is no terminal, one line is written for each node instead.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<32.32}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # What a program prints into a file must not go to the terminal.
            disable=not console.is_terminal,
        )
        self._nodes = self._progress.add_task("starting", total=None, left="")
        self._steps = self._progress.add_task("", total=None, visible=False, left="")
        self._job = JobProgress()
        self._drawn = 0.0

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
            case PromptStarted(node_count=count, goes_on=goes_on):
                if not goes_on:  # The time is that of this workflow, without the start and earlier ones.
                    self._progress.reset(self._nodes)
                self._progress.update(self._nodes, description="running", total=count, completed=0)
            case NodesCached():
                self._progress.update(self._nodes, completed=self._job.completed)
            case NodeStarted():
                self._start()
            case NodeProgress(value=value, maximum=maximum):
                if time.monotonic() - self._drawn >= _PAUSE_S or value >= maximum:
                    self._step()
            case ModelLoading():
                self._load()
            case ModelsFetching(done=done, total=total):
                description, sizes = "downloading models, MB", (done // 1_000_000, max(1, total // 1_000_000))
                self._progress.update(self._nodes, description=description, completed=sizes[0], total=sizes[1])
            case PromptEnded(status="success"):
                self._progress.update(self._nodes, completed=self._job.completed, description="done", left="")
            case _:
                pass

    def _start(self) -> None:
        name, done, total = node_name(self._job), self._job.completed, self._job.node_count
        self._progress.update(self._nodes, description=name, completed=done, left=about_left(self._job.seconds_left))
        self._progress.reset(self._steps)
        self._progress.update(self._steps, description="", total=None, visible=False, left="")
        if not self._console.is_terminal:
            label = self._job.label
            text = label if name == label else f"{name} · {label}"
            self._console.print(f"[{done + 1}/{total}] {text}", highlight=False, markup=False)

    def _step(self) -> None:
        if self._job.steps is None:
            return
        self._drawn = time.monotonic()
        value, maximum = self._job.steps
        whole, node = self._job.seconds_left, self._job.node_seconds_left
        self._progress.update(
            self._steps, description="  steps", completed=value, total=maximum, visible=True,
            left=about_left(node) if whole is None else "",
        )  # fmt: skip
        self._progress.update(self._nodes, left=about_left(whole))

    def _load(self) -> None:
        loading = self._job.loading
        if loading is None:
            self._progress.update(self._steps, visible=False)
            return
        self._progress.update(
            self._steps, description="  loading model, MB", completed=(loading.done or 0) // 1_000_000,
            total=max(1, loading.total // 1_000_000) if loading.done is not None else None, visible=True, left="",
        )  # fmt: skip
        self._progress.update(self._nodes, left=about_left(self._job.seconds_left))
