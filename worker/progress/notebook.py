"""Shows a run's progress in a notebook, from its events: one bar in the cell's output, which is replaced in place."""

from __future__ import annotations

import html
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from worker.events import Event, Notice, PromptEnded, PromptStarted
from worker.progress.job_progress import JobProgress
from worker.progress.words import about_left, node_name

if TYPE_CHECKING:
    from IPython.core.display_functions import DisplayHandle

_PAUSE_S = 0.1  # Between two updates. A workflow may report thousands of steps a second.
_ENDS = {"success": "done", "error": "failed"}


class NotebookProgress:
    """The bar of the workflow that runs. Call it with each event, on any thread.

    It needs no widgets: the front end replaces the output that was displayed first.
    """

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._lock = threading.Lock()
        self._drawn = 0.0
        self._job = JobProgress()
        self._began = time.monotonic()
        self._seconds = 0.0
        self._left: float | None = None
        self._text = "starting"
        self._is_over = False
        self._warnings: list[str] = []

    def __enter__(self) -> NotebookProgress:
        from IPython.core.display_functions import display

        self._handle = display(self, display_id=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_over:
            self._text, self._is_over = "stopped" if kind or self._job.node_count else "ended", True
        self._draw()

    def say(self, notice: Notice) -> None:
        """Show ``notice`` until the next one or the next event. A warning stays below the bar."""
        if notice.is_warning:
            self._warnings.append(str(notice))
        else:
            self._text = notice.text
        self._draw()

    def __call__(self, event: Event) -> None:
        self._job(event)
        now = time.monotonic()
        match event:
            case PromptStarted():
                self._began, self._is_over = now, False
            case PromptEnded(status=status):
                self._text, self._is_over, self._seconds = _ENDS.get(status, status), True, now - self._began
                self._draw()
        if not self._is_over and now - self._drawn >= _PAUSE_S:
            self._text, self._seconds, self._left = self._message(), now - self._began, self._job.seconds_left
            self._draw()

    def _message(self) -> str:
        """The node that runs by its title, and what it does."""
        message, label = str(self._job.report()["message"]), self._job.label
        return node_name(self._job) + message.removeprefix(label) if message.startswith(label) else message

    def _draw(self) -> None:
        with self._lock:
            self._drawn = time.monotonic()
            if self._handle is not None:
                self._handle.update(self)

    def __repr__(self) -> str:
        count, total = self._job.completed, self._job.node_count
        if not total:
            return self._text
        left = "" if self._is_over or self._left is None else f", {about_left(self._left)}"
        return f"{self._text}, {count} of {total} nodes, {self._seconds:.1f} s{left}"

    def _repr_html_(self) -> str:
        value = f' value="{self._job.percent:.1f}"' if self._job.node_count else ""  # Without one it only moves.
        bar = f'<progress max="100"{value} style="width: 20em; vertical-align: middle"></progress>'
        if self._is_over and not value:
            bar = ""
        lines = [f"<div>{html.escape(warning)}</div>" for warning in self._warnings]
        if self._job.preview is not None:
            lines.insert(0, f'<div><img src="data:image/jpeg;base64,{self._job.preview}" alt="preview"></div>')
        return f"<div>{bar} {html.escape(repr(self))}</div>{''.join(lines)}"
