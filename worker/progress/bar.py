"""Chooses how progress is shown: in a notebook's cell, or on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.progress.notebook import NotebookProgress
    from worker.progress.terminal import TerminalProgress


def progress_bar() -> TerminalProgress | NotebookProgress:
    """Shows the start of a Worker and the runs of its workflows, from Python::

        with progress_bar() as bar, Worker(say=bar.say) as worker:
            result = worker.run("workflow.json", on_event=bar)

    In a notebook this is one bar in the cell's output, in a terminal two on standard error. Where standard error is no
    terminal, one line is written for each node.
    """
    if _in_notebook():
        from worker.progress.notebook import NotebookProgress

        return NotebookProgress()
    from rich.console import Console

    from worker.progress.terminal import TerminalProgress

    return TerminalProgress(Console(file=sys.stderr))


def _in_notebook() -> bool:
    """Whether this is a Jupyter kernel. IPython in a terminal is none."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None
