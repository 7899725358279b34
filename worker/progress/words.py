"""Says in words how far a job is, for the bars."""

from __future__ import annotations

from worker.progress.job_progress import JobProgress


def node_name(progress: JobProgress) -> str:
    """The node that runs, as a person calls it: by its title, or as ``KSampler (3)``."""
    return progress.title or progress.label or "starting"


def about_left(seconds: float | None) -> str:
    """Such as ``about 12 s left``; empty if ``seconds`` is None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 1:
        return "less than 1 s left"
    if whole < 100:
        return f"about {whole} s left"
    minutes = round(seconds / 60)
    return f"about {minutes} min left" if minutes < 100 else f"about {round(seconds / 3600)} h left"
