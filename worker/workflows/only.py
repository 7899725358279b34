"""Refuses requests that bring a graph of their own: ``WORKFLOWS_ONLY``."""

from __future__ import annotations

from worker.errors import InvalidJob
from worker.job.job import Job


def refuse_graphs(job: Job) -> None:
    """Refuse a request that does not run a workflow by its name.

    Raises:
        InvalidJob: it has a graph, or sends the editor's form of one along.
    """
    if job.name is None:
        raise InvalidJob(
            "This worker runs its own workflows only: 'workflow' takes the name of one, and 'set' changes its values"
        )
    if job.extra_pnginfo:
        raise InvalidJob("This worker runs its own workflows only, and takes no 'extra_pnginfo' with them")
