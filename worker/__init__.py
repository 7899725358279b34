"""Runs ComfyUI workflows inside this process, for RunPod, a local server, the command line and Python code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.answer.result import Result
    from worker.progress.bar import progress_bar
    from worker.settings import Settings
    from worker.worker import Worker

__all__ = ["Result", "Settings", "Worker", "progress_bar"]


def __getattr__(name: str) -> Any:
    """Import these names only when they are used, so that the command line's help appears at once."""
    if name == "Worker":
        from worker.worker import Worker

        return Worker
    if name == "Result":
        from worker.answer.result import Result

        return Result
    if name == "Settings":
        from worker.settings import Settings

        return Settings
    if name == "progress_bar":
        from worker.progress.bar import progress_bar

        return progress_bar
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
