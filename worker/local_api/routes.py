"""The routes of the local API. They have no docstrings, since these would go into the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.requests import ClientDisconnect

from worker.errors import InvalidJob, WorkerError
from worker.local_api.answers import (
    Cancelled,
    Error,
    Health,
    JobStatus,
    Purged,
    Queued,
    Stream,
)
from worker.local_api.job import LocalJob, State
from worker.local_api.jobs import LocalJobs
from worker.local_api.requests import BadRequest, parse_request
from worker.local_api.schema import WORKFLOW_FILE
from worker.redact import encodable
from worker.workflows.catalog import Catalog
from worker.workflows.described import described_file
from worker.workflows.shape import DescribedWorkflow, NamedWorkflow, NamedWorkflows

if TYPE_CHECKING:
    from worker.metrics.page import MetricsPage

_RUN_LIMIT_MB, _RUNSYNC_LIMIT_MB = 10.0, 20.0  # RunPod's.
_WORKER = "local"
_LONGEST_TTL_MS = 7 * 24 * 3_600_000


def _refusals(texts: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Error, "description": text} for code, text in texts.items()}


_ANYWHERE = _refusals(
    {
        400: "A rule of the request is broken",
        401: "The token is missing or wrong",
        403: "The Host or Origin is not allowed",
    }
)
_UNKNOWN = _refusals({404: "No such job, or none any more"})
_BUSY = _refusals({413: "The request is too large", 429: "The queue is full"})
_LARGE = _refusals({413: "The request is too large"})
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobRequest"}}},
    }
}


async def _jobs_of_app(request: Request) -> LocalJobs:
    jobs: LocalJobs = request.app.state.jobs
    return jobs


async def _catalog_of_app(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog


Workflows = Annotated[Catalog, Depends(_catalog_of_app)]
Jobs = Annotated[LocalJobs, Depends(_jobs_of_app)]
JobId = Annotated[str, Path(description="The job's id, as `/run` and `/runsync` give it")]
Wait = Annotated[int, Query(ge=1000, le=300_000, description="How long to wait for the end, in milliseconds")]
Ttl = Annotated[int | None, Query(ge=1, le=_LONGEST_TTL_MS, description="A new ttl, in milliseconds")]
ShowsNodes = Annotated[bool, Query(description="Whether the progress names the nodes that are done")]

router = APIRouter(responses=_ANYWHERE, tags=["jobs"])


@router.post("/run", response_model=Queued, responses=_BUSY, openapi_extra=_BODY, summary="Queue a job")
async def run(request: Request, jobs: Jobs) -> Response:
    job = await _submit(request, jobs, _RUN_LIMIT_MB, sync=False)
    return JSONResponse({"id": job.id, "status": State.IN_QUEUE})  # As on RunPod, even if the job begins at once.


@router.post(
    "/runsync", response_model=JobStatus, responses=_BUSY, openapi_extra=_BODY, summary="Run a job and wait for it"
)
async def runsync(request: Request, jobs: Jobs, wait: Wait = 90_000) -> Response:
    job = await _submit(request, jobs, _RUNSYNC_LIMIT_MB, sync=True)
    await jobs.wait(job, wait / 1000)
    return _status(job)


@router.get("/status/{job_id}", response_model=JobStatus, responses=_UNKNOWN, summary="Where a job is")
@router.post("/status/{job_id}", response_model=JobStatus, responses=_UNKNOWN, include_in_schema=False)
async def status(job_id: JobId, jobs: Jobs, ttl: Ttl = None, nodes: ShowsNodes = False) -> Response:
    job = _find(jobs, job_id)
    if ttl is not None:
        jobs.set_ttl(job, ttl)
    return _status(job, shows_nodes=nodes)


@router.get(
    "/status-sync/{job_id}", response_model=JobStatus, responses=_UNKNOWN, summary="Wait for a job, then as /status"
)
async def status_sync(job_id: JobId, jobs: Jobs, wait: Wait = 90_000) -> Response:
    job = _find(jobs, job_id)
    await jobs.wait(job, wait / 1000)
    return _status(job)


@router.get("/stream/{job_id}", response_model=Stream, responses=_UNKNOWN, summary="A job's output as it comes")
@router.post("/stream/{job_id}", response_model=Stream, responses=_UNKNOWN, include_in_schema=False)
async def stream(job_id: JobId, jobs: Jobs) -> Response:
    job = _find(jobs, job_id)
    pieces = b""
    if job.state is State.COMPLETED and job.reply is not None and not job.streamed:
        job.streamed = True
        pieces = b"".join([b'{"output":', job.reply.output, b"}"])
    head = bytes(JSONResponse({"id": job.id, "status": job.state}).body)
    return Response(head[:-1] + b',"stream":[' + pieces + b"]}", media_type="application/json")


@router.post("/cancel/{job_id}", response_model=Cancelled, responses=_UNKNOWN, summary="Stop a job")
async def cancel(job_id: JobId, jobs: Jobs) -> Response:
    job = _find(jobs, job_id)
    jobs.cancel(job)
    return JSONResponse({"id": job.id, "status": job.state, **job.times()})


@router.post("/purge-queue", response_model=Purged, summary="Remove the jobs that wait")
async def purge_queue(jobs: Jobs) -> Response:
    return JSONResponse({"removed": jobs.purge(), "status": "completed"})


@router.get("/health", response_model=Health, summary="Jobs and workers")
async def health(jobs: Jobs) -> Response:
    counts = jobs.counts()
    is_busy = int(counts["inProgress"] > 0)
    others = {"initializing": 0, "throttled": 0, "unhealthy": 0}
    return JSONResponse({"jobs": counts, "workers": {"idle": 1 - is_busy, "ready": 1, "running": is_busy, **others}})


@router.get("/workflows", response_model=NamedWorkflows, summary="The workflows that run by name")
async def workflows(catalog: Workflows) -> Response:
    return JSONResponse({"workflows": await asyncio.to_thread(catalog.all)})


@router.get(
    "/workflows/{name}",
    response_model=NamedWorkflow,
    responses=_refusals({404: "No such workflow"}),
    summary="A workflow, and what can be set in it",
)
async def workflow(name: Annotated[str, Path(description="The workflow's name")], catalog: Workflows) -> Response:
    try:
        return JSONResponse(await asyncio.to_thread(catalog.one, name))
    except InvalidJob as error:
        raise BadRequest(str(error), 404) from None


@router.post(
    "/describe",
    response_model=DescribedWorkflow,
    responses=_LARGE,
    openapi_extra=WORKFLOW_FILE,
    summary="What is in a workflow file, and what can be set in it",
)
async def describe(request: Request, catalog: Workflows) -> Response:
    state = request.app.state
    content = await _read(request, state.max_request_mb or _RUNSYNC_LIMIT_MB)
    try:
        async with state.describing:
            described = await asyncio.to_thread(described_file, content, catalog, state.settings)
    except WorkerError as error:
        raise BadRequest(encodable(str(error))) from None
    return Response(json.dumps(described), media_type="application/json")  # As JSON can hold it: texts may be broken.


@router.get("/metrics", response_class=PlainTextResponse, summary="Numbers for Prometheus")
async def metrics(request: Request) -> Response:
    page: MetricsPage = request.app.state.metrics
    rendered = await asyncio.to_thread(page.rendered, request.headers.get("accept", ""))
    return Response(rendered.content, headers={"content-type": rendered.content_type})


def status_body(job: LocalJob, *, shows_nodes: bool = False) -> bytes:
    """The JSON of ``/status``, which a webhook gets as well. Unknown values are left out, not null."""
    head: dict[str, Any] = {"id": job.id, "status": job.state, **job.times()}
    if job.started is not None:
        head["workerId"] = _WORKER
    if job.state is State.IN_PROGRESS and job.progress.node_count:
        done = {"done_nodes": job.progress.done_nodes} if shows_nodes else {}
        head["output"] = job.progress.report() | done
    return bytes(JSONResponse(head).body) if job.reply is None else job.reply.body(**head)


def _status(job: LocalJob, *, shows_nodes: bool = False) -> Response:
    return Response(status_body(job, shows_nodes=shows_nodes), media_type="application/json")


def _find(jobs: LocalJobs, job_id: str) -> LocalJob:
    job = jobs.get(job_id)
    if job is None:
        raise BadRequest(f"There is no job {job_id[:100]!r}, or its result is no longer kept", 404)
    return job


async def _submit(request: Request, jobs: LocalJobs, limit_mb: float, *, sync: bool) -> LocalJob:
    content = await _read(request, request.app.state.max_request_mb or limit_mb)
    # Parse it on a thread, since a large body would block the event loop.
    return jobs.submit(await asyncio.to_thread(parse_request, content), len(content), sync=sync)


async def _read(request: Request, limit_mb: float) -> bytes:
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit_mb * 1e6:
                raise BadRequest(
                    f"The request has more than {limit_mb:g} MB, which is the limit of this path (RunPod's, or "
                    "LOCAL_API_MAX_REQUEST_MB); give large files by URL",
                    413,
                )
            parts.append(part)
    except ClientDisconnect:
        raise BadRequest("The request has broken off") from None
    return b"".join(parts)
