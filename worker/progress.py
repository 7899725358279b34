"""A live progress bar in the terminal, fed with a run's events."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from worker.events import Event, NodeProgress, NodesCached, NodeStarted, PromptEnded, PromptStarted


class TerminalProgress:
    """Two bars: nodes of the workflow, and steps of the node that runs. Call it with each event, on any thread.

    Where ``console`` is no terminal it writes one line a node instead.
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
            disable=not console.is_terminal,
        )
        self._nodes = self._progress.add_task("starting", total=None)
        self._steps = self._progress.add_task("", total=None, visible=False)
        self._node_count = 0
        self._seen: set[str] = set()

    def __enter__(self) -> TerminalProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Show ``text`` where the current node stands; a warning stays on the screen."""
        if text.startswith("warning: ") or not self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False)
        else:
            self._progress.update(self._nodes, description=text)

    def __call__(self, event: Event) -> None:
        match event:
            case PromptStarted(node_count=count):
                self._node_count = count
                self._progress.update(self._nodes, description="running", total=count, completed=0)
            case NodesCached(node_ids=ids):
                self._seen.update(ids)
                self._advance()
            case NodeStarted():
                self._start(event)
            case NodeProgress(value=value, maximum=maximum):
                self._progress.update(self._steps, completed=value, total=maximum, visible=True)
            case PromptEnded(status="success"):
                self._progress.update(self._nodes, completed=self._node_count, description="done")
            case _:
                pass

    def _start(self, event: NodeStarted) -> None:
        label = f"{event.class_type} ({event.display_node_id})"
        self._advance()
        self._seen.add(event.display_node_id)
        self._progress.update(self._nodes, description=label)
        self._progress.update(self._steps, description=f"  {label}", completed=0, total=None, visible=False)
        if not self._console.is_terminal:
            self._console.print(f"[{len(self._seen)}/{self._node_count}] {label}", highlight=False, markup=False)

    def _advance(self) -> None:
        self._progress.update(self._nodes, completed=min(len(self._seen), self._node_count))
