"""Refuses requests to the local API that come from other sites' web pages or lack the token."""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d+)?")
# What a browser needs to show the documentation. Only these exact paths, and those of the page, need no token.
_OPEN = {
    "/",
    "/docs",
    "/openapi.json",
    "/swagger/swagger-ui-bundle.js",
    "/swagger/swagger-ui.css",
    "/swagger/favicon-32x32.png",
}


class Guard:
    """ASGI middleware that refuses requests by their Host, Origin and Authorization.

    A web page that is open in a browser can send requests to this machine in two ways: to the page's own host name, if
    that name points here (Host shows this), or to another origin (Origin shows this). Both are refused.

    Args:
        app: gets the requests that are not refused.
        hosts: further names of this machine, which may contain ``*``.
        token: the bearer token that requests need; None if they need none.
        page: the paths of the page's files, which need no token.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], token: str | None, page: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = tuple(host.lower() for host in hosts)
        self._token = token
        self._open = _OPEN.union(page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(Headers(scope=scope), scope["path"]) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await _refuse(send, *problem)

    def _problem(self, headers: Headers, path: str) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_ours(_hostname(host)):
            return 403, (
                f"The local API does not answer as {host[:80]!r}: if this name is meant, add it to LOCAL_API_HOSTS"
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return 403, f"The local API takes no requests from pages of {origin[:80]!r}"
        if self._token is not None and path not in self._open:
            given = headers.get("authorization", "").strip()
            given = given[7:].strip() if given[:7].lower() == "bearer " else given
            if not hmac.compare_digest(given.encode("latin-1"), self._token.encode()):
                return 401, "A token is needed: send 'Authorization: Bearer <LOCAL_API_TOKEN>'"
        return None

    def _is_ours(self, name: str) -> bool:
        """Whether ``name`` is an address, a name of this network, or an allowed name, which no other site can have."""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            known = name.endswith((".localhost", ".local", ".internal")) or any(
                fnmatchcase(name, host) for host in self._hosts
            )
            return bool(name) and ("." not in name or known)
        return True


def _hostname(host: str) -> str:
    """The name in a Host header, without its port; empty if the header is malformed."""
    found = _HOST.fullmatch(host.lower())
    return (found["address"] or found["name"]) if found else ""


async def _refuse(send: Send, status: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
