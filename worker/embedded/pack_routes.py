"""Knows which node pack a route of ComfyUI's server is of, and asks routes in this process, where nothing listens."""

from __future__ import annotations

import asyncio
import http.client
import inspect
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import PurePath
from types import CodeType
from typing import Any
from urllib.parse import quote

_TIMEOUT_S = 30.0


class RouteFailed(Exception):
    """No route has given the picture. The text says why."""


class PackRoutes:
    """The routes of ComfyUI's server.

    Args:
        server: ComfyUI's ``PromptServer``. Its loop must be running for ``get``.
        folders: returns the folders of node packs.
    """

    def __init__(self, server: Any, folders: Callable[[], Iterable[str]]) -> None:
        self._server, self._folders = server, folders
        self._runner: Any = None

    def packs(self) -> set[str]:
        """The packs that have routes, as their paths."""
        # The second are those that were added to the application directly.
        handlers = [*(getattr(r, "handler", None) for r in self._server.routes), *(r.handler for r in self._all())]
        return {pack for handler in handlers if (pack := self.pack_of(_file(handler)))}

    def pack_of(self, file: str) -> str | None:
        """The pack that a file is of, as its path in a folder of packs; None if it is of none."""
        for folder in (os.path.join(folder, "") for folder in self._folders()):  # noqa: PTH118
            if file.startswith(folder):
                return folder + PurePath(file.removeprefix(folder)).parts[0]
        return None

    def get(self, node_class: Any, entry: Mapping[str, Any]) -> bytes:
        """Ask the route that a node's ``entry`` means for its content. Only routes of the node's own pack are asked.

        The entry has the route's path under ``url``, or a value for each variable part of the path, such as ``id``.

        Raises:
            RouteFailed: there is no such route, or it does not give the content.
        """
        try:
            pack = self.pack_of(inspect.getfile(node_class))
        except (OSError, TypeError):  # A class without a file.
            pack = None
        path = next((path for route in self._of_pack(pack) if (path := _path(route, entry))), None)
        if path is None:
            raise RouteFailed("its node pack has no such route")
        ours, theirs = socket.socketpair()
        connection = http.client.HTTPConnection("127.0.0.1", timeout=_TIMEOUT_S)
        connection.sock = ours
        ours.settimeout(_TIMEOUT_S)
        try:
            asyncio.run_coroutine_threadsafe(self._accept(theirs), self._server.loop).result(_TIMEOUT_S)
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise RouteFailed(f"its route failed ({type(error).__name__})") from None
        finally:
            connection.close()
        if response.status != 200:
            raise RouteFailed(f"its route answered {response.status}")
        return content

    async def _accept(self, connection: socket.socket) -> None:
        """Let ComfyUI's application answer on ``connection``."""
        from aiohttp.web import AppRunner

        if self._runner is None:
            self._runner = AppRunner(self._server.app, access_log=None)
            await self._runner.setup()
        await self._server.loop.connect_accepted_socket(self._runner.server, connection)

    def _all(self) -> Iterator[Any]:
        yield from self._server.app.router.routes()

    def _of_pack(self, pack: str | None) -> Iterator[Any]:
        if pack is not None:
            yield from (r for r in self._all() if r.method == "GET" and self.pack_of(_file(r.handler)) == pack)


def _path(route: Any, entry: Mapping[str, Any]) -> str | None:
    """The path by which ``entry`` means this route; None if it does not."""
    about, url = route.resource.get_info(), entry.get("url")
    if isinstance(url, str):
        plain = url.partition("?")[0]
        fits = plain == about.get("path") or ("pattern" in about and about["pattern"].fullmatch(plain))
        return quote(url, safe="/?&=%:+,;@") if fits else None
    if "formatter" not in about:
        return None
    parts = {name: quote(str(value), safe="") for name, value in entry.items()}
    try:
        return str(about["formatter"].format_map(parts))
    except (KeyError, ValueError, IndexError, AttributeError):  # It has a part that the entry does not name.
        return None


def _file(handler: Any) -> str:
    while isinstance(handler, partial):
        handler = handler.func
    code = getattr(inspect.unwrap(handler), "__code__", None) if callable(handler) else None
    return code.co_filename if isinstance(code, CodeType) else ""
