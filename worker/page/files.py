"""Serves the files of the page: plain HTML, CSS and ES modules, which ask for nothing outside of the local API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

_STATIC = Path(__file__).with_name("static")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_INDEX = "index.html"
# Results are shown from memory (blob:), previews as they come (data:). Nothing is loaded from elsewhere, no script or
# style is written into the page, and no other page may show this one in a frame.
_POLICY = "; ".join([
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:", "media-src blob:",
    "connect-src 'self'", "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'",
    "require-trusted-types-for 'script'", "trusted-types 'none'",
])  # fmt: skip
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def page_router() -> APIRouter:
    """The routes of the page: ``/`` for browsers, and ``/page/NAME`` for each of its files."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/", _index, methods=["GET"], response_class=Response)
    for name in _files():
        if name != _INDEX:
            router.add_api_route(f"/page/{name}", _serves(name), methods=["GET"], response_class=Response)
    return router


def page_paths() -> list[str]:
    """The paths of all files of the page but ``/``. They need no token, as there is nothing of anybody in them."""
    return [f"/page/{name}" for name in _files() if name != _INDEX]


async def _index(request: Request) -> Response:
    """The page for those who can show it. Programs are sent to the documentation."""
    if "text/html" in request.headers.get("accept", ""):
        response = _answer(_INDEX)
    else:
        response = RedirectResponse(url=request.url_for("swagger_ui_html"))
    response.headers["vary"] = "Accept"
    return response


def _serves(name: str) -> Callable[[], Awaitable[Response]]:
    async def serve() -> Response:
        return _answer(name)

    return serve


def _answer(name: str) -> Response:
    return Response(_files()[name], headers=_HEADERS | {"content-type": _TYPES[Path(name).suffix]})


@cache
def _files() -> dict[str, bytes]:
    """The content of each file, by its name."""
    return {path.name: path.read_bytes() for path in sorted(_STATIC.iterdir()) if path.suffix in _TYPES}
