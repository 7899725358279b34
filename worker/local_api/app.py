"""Builds the application of the local API: its routes, its OpenAPI document, and the answers to wrong requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_swagger import patch_fastapi
from starlette.exceptions import HTTPException

from worker.local_api.connections import ReadsToTheEnd
from worker.local_api.guard import Guard
from worker.local_api.jobs import LocalJobs, QueueFull
from worker.local_api.requests import BadRequest
from worker.local_api.routes import router
from worker.local_api.schema import request_schemas
from worker.page.files import page_paths, page_router
from worker.settings import Settings
from worker.workflows.catalog import Catalog

if TYPE_CHECKING:  # Prometheus's library is imported where the page is made.
    from worker.metrics.page import MetricsPage

_MOST_DESCRIBED = 2  # Workflow files at once: each may be a large picture.
_DESCRIPTION = """\
RunPod's endpoint API, served by the worker itself on this machine. Every path also answers under `/v2/{endpoint}` and
`/{endpoint}`, whatever the endpoint's id, so that RunPod's own clients need only another base URL.
"""


def make_app(jobs: LocalJobs, settings: Settings, catalog: Catalog, metrics: MetricsPage | None = None) -> FastAPI:
    """Build the application on ``jobs`` and the workflows of ``catalog``.

    ``metrics``: the page for Prometheus; None only where nobody asks for it.
    """
    app = _Api(
        title="comfy-worker local API",
        description=_DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.jobs, app.state.max_request_mb = jobs, settings.local_api_max_request_mb
    app.state.catalog = catalog
    app.state.metrics = metrics
    app.state.settings, app.state.describing = settings, asyncio.Semaphore(_MOST_DESCRIBED)
    if settings.local_api_page:
        app.include_router(page_router())
    app.include_router(router)
    app.include_router(router, prefix="/v2/{endpoint}", include_in_schema=False)
    app.include_router(router, prefix="/{endpoint}", include_in_schema=False)
    patch_fastapi(app, docs_url="/docs")
    token = settings.local_api_token.get_secret_value() if settings.local_api_token else None
    page = page_paths() if settings.local_api_page else ()
    app.add_middleware(Guard, hosts=settings.local_api_hosts, token=token, page=page)
    app.add_middleware(ReadsToTheEnd)
    for kind in (BadRequest, QueueFull, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _explain)
    return app


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document. It has the request bodies, which the routes read themselves, but not FastAPI's 422."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"] |= request_schemas()
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}, {}]  # A token is needed if LOCAL_API_TOKEN is set.
            for operations in document["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
            self.openapi_schema = document
        return self.openapi_schema


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
