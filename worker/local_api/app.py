"""The routes of the local API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_swagger import patch_fastapi
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from worker.local_api.answers import Cancelled, Error, Health, JobStatus, Purged, Queued, Stream
from worker.local_api.guard import Guard
from worker.local_api.jobs import LocalJob, LocalJobs, QueueFull, State
from worker.local_api.requests import BadRequest, JobRequest, parse_request
from worker.settings import Settings

_RUN_LIMIT_MB, _RUNSYNC_LIMIT_MB = 10.0, 20.0  # RunPod's.
_WORKER = "local"
_DESCRIPTION = """\
RunPod's endpoint API, served by the worker itself on this machine. Every path also answers under `/v2/{endpoint}` and
`/{endpoint}`, whatever the endpoint's id, so that RunPod's own clients need only another base URL.
"""

JobId = Annotated[str, Path(description="The job's id, as `/run` and `/runsync` give it")]
Wait = Annotated[int, Query(ge=1000, le=300_000, description="How long to wait for the end, in milliseconds")]


def make_app(jobs: LocalJobs, settings: Settings) -> FastAPI:
    """Build the application on ``jobs``."""
    app = _Api(
        title="comfy-worker local API",
        description=_DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    router = _routes(jobs, settings)
    app.include_router(router)
    app.include_router(router, prefix="/v2/{endpoint}", include_in_schema=False)
    app.include_router(router, prefix="/{endpoint}", include_in_schema=False)
    patch_fastapi(app, docs_url="/docs")
    token = settings.local_api_token.get_secret_value() if settings.local_api_token else None
    app.add_middleware(Guard, hosts=settings.local_api_hosts, token=token)
    for kind in (BadRequest, QueueFull, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _explain)
    return app


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The document, with the bodies that the routes read themselves, and without FastAPI's own 422."""
        if self.openapi_schema is None:
            document = super().openapi()
            bodies = JobRequest.model_json_schema(ref_template="#/components/schemas/{model}")
            document["components"]["schemas"] |= bodies.pop("$defs") | {"JobRequest": bodies}
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}, {}]  # Needed where LOCAL_API_TOKEN is set.
            for operations in document["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
            self.openapi_schema = document
        return self.openapi_schema


def _routes(jobs: LocalJobs, settings: Settings) -> APIRouter:
    refusals: dict[int | str, dict[str, Any]] = {
        code: {"model": Error, "description": text}
        for code, text in {
            400: "A rule of the request is broken",
            401: "The token is missing or wrong",
            403: "The Host or Origin is not allowed",
        }.items()
    }
    unknown: dict[int | str, dict[str, Any]] = {404: {"model": Error, "description": "No such job, or none any more"}}
    busy: dict[int | str, dict[str, Any]] = {
        413: {"model": Error, "description": "The request is too large"},
        429: {"model": Error, "description": "The queue is full"},
    }
    router = APIRouter(responses=refusals, tags=["jobs"])
    schema = {"$ref": "#/components/schemas/JobRequest"}
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

    async def submit(request: Request, limit_mb: float, *, sync: bool) -> LocalJob:
        content = await _read(request, settings.local_api_max_request_mb or limit_mb)
        return jobs.submit(await asyncio.to_thread(parse_request, content), len(content), sync=sync)

    def find(job_id: str) -> LocalJob:
        job = jobs.get(job_id)
        if job is None:
            raise BadRequest(f"There is no job {job_id[:100]!r}, or its result is no longer kept", 404)
        return job

    @router.post("/run", response_model=Queued, responses=busy, openapi_extra=body, summary="Queue a job")
    async def run(request: Request) -> Response:
        job = await submit(request, _RUN_LIMIT_MB, sync=False)
        return _json({"id": job.id, "status": State.IN_QUEUE})  # As RunPod says, be it idle or not.

    @router.post(
        "/runsync", response_model=JobStatus, responses=busy, openapi_extra=body, summary="Run a job and wait for it"
    )
    async def runsync(request: Request, wait: Wait = 90_000) -> Response:
        job = await submit(request, _RUNSYNC_LIMIT_MB, sync=True)
        await jobs.wait(job, wait / 1000)
        return _status(job)

    @router.get("/status/{job_id}", response_model=JobStatus, responses=unknown, summary="Where a job is")
    @router.post("/status/{job_id}", response_model=JobStatus, responses=unknown, include_in_schema=False)
    async def status(
        job_id: JobId,
        ttl: Annotated[int | None, Query(ge=1, le=7 * 24 * 3_600_000, description="A new ttl, in milliseconds")] = None,
    ) -> Response:
        job = find(job_id)
        if ttl is not None:
            jobs.set_ttl(job, ttl)
        return _status(job)

    @router.get(
        "/status-sync/{job_id}", response_model=JobStatus, responses=unknown, summary="Wait for a job, then as /status"
    )
    async def status_sync(job_id: JobId, wait: Wait = 90_000) -> Response:
        job = find(job_id)
        await jobs.wait(job, wait / 1000)
        return _status(job)

    @router.get("/stream/{job_id}", response_model=Stream, responses=unknown, summary="A job's output as it comes")
    @router.post("/stream/{job_id}", response_model=Stream, responses=unknown, include_in_schema=False)
    async def stream(job_id: JobId) -> Response:
        return _streamed(find(job_id))

    @router.post("/cancel/{job_id}", response_model=Cancelled, responses=unknown, summary="Stop a job")
    async def cancel(job_id: JobId) -> Response:
        job = find(job_id)
        jobs.cancel(job)
        return _json({"id": job.id, "status": job.state, **job.times()})

    @router.post("/purge-queue", response_model=Purged, summary="Remove the jobs that wait")
    async def purge_queue() -> Response:
        return _json({"removed": jobs.purge(), "status": "completed"})

    @router.get("/health", response_model=Health, summary="Jobs and workers")
    async def health() -> Response:
        counts = jobs.counts()
        is_busy = int(counts["inProgress"] > 0)
        others = {"initializing": 0, "throttled": 0, "unhealthy": 0}
        return _json({"jobs": counts, "workers": {"idle": 1 - is_busy, "ready": 1, "running": is_busy, **others}})

    return router


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


def status_body(job: LocalJob) -> bytes:
    """The JSON of ``/status``, which is also what a webhook gets; nothing in it is null."""
    head: dict[str, Any] = {"id": job.id, "status": job.state, **job.times()}
    if job.started is not None:
        head["workerId"] = _WORKER
    if job.state is State.IN_PROGRESS and job.progress.node_count:
        head["output"] = job.progress.report()
    return bytes(JSONResponse(head).body) if job.reply is None else job.reply.body(**head)


def _status(job: LocalJob) -> Response:
    return Response(status_body(job), media_type="application/json")


def _streamed(job: LocalJob) -> Response:
    pieces = b""
    if job.state is State.COMPLETED and job.reply is not None and not job.streamed:
        job.streamed = True
        pieces = b"".join([b'{"output":', job.reply.output, b"}"])
    head = bytes(JSONResponse({"id": job.id, "status": job.state}).body)
    return Response(head[:-1] + b',"stream":[' + pieces + b"]}", media_type="application/json")


def _json(content: Mapping[str, Any]) -> Response:
    return JSONResponse(content)


async def _explain(request: Request, error: Exception) -> Response:
    match error:
        case BadRequest():
            return JSONResponse({"error": str(error)}, error.status)
        case QueueFull():
            return JSONResponse({"error": str(error)}, 429)
        case RequestValidationError():
            problem = error.errors()[0]
            text = f"'{problem['loc'][-1]}': {problem['msg']}, not {str(problem.get('input'))[:80]!r}"
            return JSONResponse({"error": text}, 400)
        case HTTPException():
            text = f"{request.method} {request.url.path[:100]}: {error.detail}; see /docs for what there is"
            return JSONResponse({"error": text}, error.status_code, error.headers)
    raise error
