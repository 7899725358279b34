"""Reads requests, and refuses those that bring a graph of their own where ``WORKFLOWS_ONLY`` is set."""

from __future__ import annotations

from worker.errors import InvalidJob
from worker.job.job import Job
from worker.job.parse import parse_job
from worker.settings import Settings


def admitted_job(raw: object, settings: Settings) -> Job:
    """``parse_job``, for callers whom the operator does not know.

    Raises:
        InvalidJob: the request is not valid, or is none that ``settings`` admit.
    """
    job = parse_job(raw)
    if settings.workflows_only:
        _refuse_graphs(job, saves_metadata=settings.save_metadata)
    return job


def _refuse_graphs(job: Job, *, saves_metadata: bool) -> None:
    """Refuse a request that does not run a workflow by its name, or wants to read it.

    Args:
        job: the request, as it was parsed.
        saves_metadata: whether the operator lets all files carry their workflow.

    Raises:
        InvalidJob: it has a graph, sends the editor's form of one or models along, or asks for files that carry the
            workflow.
    """
    if job.name is None:
        raise InvalidJob(
            "This worker runs its own workflows only: 'workflow' takes the name of one, and 'set' changes its values"
        )
    if job.extra_pnginfo:
        raise InvalidJob("This worker runs its own workflows only, and takes no 'extra_pnginfo' with them")
    if job.models:
        raise InvalidJob("This worker runs its own workflows only, and takes no 'models' with them")
    if job.save_metadata and not saves_metadata:
        raise InvalidJob("This worker does not write its workflows into files: leave out 'save_metadata'")
