"""Turns a job into a ``GraphRun``: stages its input files, and decides its key, image format and time limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from worker.convert.api_graph import convert
from worker.engine.graph_run import Backend, GraphRun, TimeLimit
from worker.engine.memory_limits import MemoryLimits
from worker.engine.workspace import StateFolder
from worker.errors import InvalidJob, WorkflowRejected
from worker.events import Listener
from worker.images.formats import ImageFormat
from worker.job.files.staging import InputLimits, stage
from worker.job.job import Job
from worker.job.notices import notices
from worker.job.parse import parse_workflow
from worker.job.prefixes import expand_prefixes
from worker.models.fetched import NO_MODELS, FetchedModels
from worker.receipt.current import current, enter
from worker.redact import Sent, public_text
from worker.settings import Settings
from worker.workflows.changes import changed
from worker.workflows.folder import WorkflowFolder

_LONGEST_ERROR = 20_000  # Characters.


def prepare_run(
    job: Job,
    settings: Settings,
    state: StateFolder,
    on_event: Listener | None,
    on_file: Callable[[Path], None] | None,
    models: FetchedModels = NO_MODELS,
) -> GraphRun:
    """Make the job's folder in ``state`` and stage its input files there. ``models``: what was fetched for the job.

    Raises:
        InputsRefused: a file could not be staged. Then the job's folder has been removed.
        JobTooLarge: the files are too large together.
    """
    key = _api_key(job, settings)
    image_format = _image_format(job, settings)
    enter("staging")
    workspace = state.new_workspace()
    try:
        staged = stage(job.images, workspace.input, _input_limits(settings))
    except BaseException:
        workspace.close()
        raise
    time_limit = _time_limit(job, settings)
    # Here, so that validation, the metadata and the marks for ComfyUI's cache have the names that are used.
    workflow = expand_prefixes(job.workflow, job.extra_pnginfo)
    is_followed = on_event is not None and settings.progress_interval_s > 0
    if (receipt := current()) is not None:
        on_event = receipt.follow(workflow, staged.size, on_event)
    return GraphRun(
        workflow, workspace, staged.hashes, key, on_event, image_format, on_file, time_limit,
        extra_pnginfo=job.extra_pnginfo,
        save_metadata=settings.save_metadata if job.save_metadata is None else job.save_metadata,
        warnings=(*notices(job), *staged.warnings, *_without_effect(job, settings)),
        report_ui=settings.report_ui if job.report_ui is None else job.report_ui,
        written=job.written,
        tells_loading=is_followed,
        preview_every_s=settings.progress_interval_s if is_followed and settings.progress_previews else 0.0,
        models=models, offered=job.models,
    )  # fmt: skip


def _api_key(job: Job, settings: Settings) -> str | None:
    """The key for ComfyUI's API nodes, the caller's or the operator's."""
    operators_key = settings.comfy_org_api_key
    return job.api_key or (operators_key.get_secret_value() if operators_key else None) or None


def _image_format(job: Job, settings: Settings) -> ImageFormat:
    return ImageFormat(job.output_format or settings.output_format, job.output_quality or settings.output_quality)


def with_api_graph(job: Job, backend: Backend, folder: WorkflowFolder) -> Job:
    """``job`` with the API graph that runs: read if the job has its name only, converted, and with its values set.

    Raises:
        InvalidJob, WorkflowRejected: the workflow is not there, or cannot be converted, or does not take the values.
        BackendFailed: the backend does not say what its node classes are.
    """
    if job.is_ready:
        return job
    job = folder.resolved(job)
    definitions, workflow, handles = backend.definitions(), job.workflow, job.handles
    if job.editor is not None:
        with _without_paths(job):
            workflow, handles = convert(job.editor, definitions)
            parse_workflow(workflow)
    workflow = changed(workflow, job.changes, definitions, handles)
    return replace(job, workflow=workflow, handles=handles, editor=None, changes=())


@contextmanager
def _without_paths(job: Job) -> Iterator[None]:
    """If the operator has written the workflow, errors about it show no path of this machine."""
    try:
        yield
    except (InvalidJob, WorkflowRejected) as error:
        if job.written is None:
            raise
        raise type(error)(public_text(str(error), max_length=_LONGEST_ERROR, sent=Sent(*job.written))) from None


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
