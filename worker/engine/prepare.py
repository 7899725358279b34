"""Turns a job into a ``GraphRun``: stages its input files, and decides its key, image format and time limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from worker.convert.api_graph import to_api_graph
from worker.engine.graph_run import Backend, GraphRun, TimeLimit
from worker.engine.memory_limits import MemoryLimits
from worker.engine.workspace import StateFolder
from worker.events import Listener
from worker.images.formats import ImageFormat
from worker.job.files.staging import InputLimits, stage
from worker.job.job import Job
from worker.job.notices import notices
from worker.job.parse import parse_workflow
from worker.job.prefixes import expand_prefixes
from worker.settings import Settings


def prepare_run(
    job: Job, settings: Settings, state: StateFolder, on_event: Listener | None, on_file: Callable[[Path], None] | None
) -> GraphRun:
    """Make the job's folder in ``state`` and stage its input files there.

    Raises:
        InputsRefused: a file could not be staged. Then the job's folder has been removed.
        JobTooLarge: the files are too large together.
    """
    operators_key = settings.comfy_org_api_key
    key = job.api_key or (operators_key.get_secret_value() if operators_key else None)
    image_format = ImageFormat(
        job.output_format or settings.output_format, job.output_quality or settings.output_quality
    )
    workspace = state.new_workspace()
    try:
        staged = stage(job.images, workspace.input, _input_limits(settings))
    except BaseException:
        workspace.close()
        raise
    time_limit = _time_limit(job, settings)
    # Here, so that validation, the metadata and the marks for ComfyUI's cache have the names that are used.
    workflow = expand_prefixes(job.workflow, job.extra_pnginfo, datetime.now().astimezone())
    return GraphRun(
        workflow, workspace, staged.hashes, key or None, on_event, image_format, on_file, time_limit,
        extra_pnginfo=job.extra_pnginfo,
        save_metadata=settings.save_metadata if job.save_metadata is None else job.save_metadata,
        warnings=(*notices(job), *staged.warnings, *_without_effect(job, settings)),
        report_ui=settings.report_ui if job.report_ui is None else job.report_ui,
        preview_every_s=settings.progress_interval_s if settings.progress_previews and on_event else 0.0,
    )  # fmt: skip


def with_api_graph(job: Job, backend: Backend) -> Job:
    """``job`` with the API graph that its workflow stands for, which is in the format of ComfyUI's editor.

    Raises:
        InvalidJob, WorkflowRejected: the workflow cannot be converted. The text says why.
        BackendFailed: the backend does not say what its node classes are.
    """
    if job.editor is None:
        return job
    return replace(job, workflow=parse_workflow(to_api_graph(job.editor, backend.definitions())), editor=None)


def _without_effect(job: Job, settings: Settings) -> Iterator[str]:
    if job.save_metadata is not None and settings.comfy_backend == "websocket":
        yield "'save_metadata' has no effect: the ComfyUI server that this worker uses decides it"


def _input_limits(settings: Settings) -> InputLimits:
    # In this process, a node that decodes a whole film gets no more memory than a job may take. Nothing holds the nodes
    # of a server elsewhere. But how much memory that server has is known to the operator only.
    counts_films = settings.comfy_backend == "websocket" and settings.max_job_mb != "auto"
    return InputLimits(
        max_bytes=int(settings.max_input_mb * 1e6),
        max_pixels=settings.max_image_pixels,
        urls=settings.input_urls == "public",
        max_decoded=MemoryLimits.of(settings).job,
        counts_films=counts_films,
        any_kind=settings.input_files == "any",
    )


def _time_limit(job: Job, settings: Settings) -> TimeLimit | None:
    """The shorter of the operator's limit and the job's own."""
    limits = [(settings.job_timeout_s, "JOB_TIMEOUT_S"), (job.timeout_s, "timeout_s")]
    given = (TimeLimit(seconds, source) for seconds, source in limits if seconds)
    return min(given, key=lambda limit: limit.seconds, default=None)
