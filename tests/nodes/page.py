"""Nodes that wait for a script in ComfyUI's page, as those where a person chooses; and such as only seem to."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from aiohttp import web
from server import PromptServer

from .faults import OnImage

CHOSEN = threading.Event()


@PromptServer.instance.routes.post("/test_nodes/choose")  # type: ignore[untyped-decorator]
async def choose(_: web.Request) -> web.Response:
    CHOSEN.set()
    return web.json_response({})


class _Waits(OnImage):
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "how": ("STRING", {})}, "optional": {"address": ("STRING", {})}}


class WaitsForPage(_Waits):
    """Waits for ``choose``, in the way of ``how``; or for something else."""

    def run(self, image: Any, how: str, address: str = "") -> tuple[Any]:
        getattr(self, how)(address)
        return (image,)

    def event(self, _: str) -> None:
        CHOSEN.wait()

    def loop(self, _: str) -> None:
        while not CHOSEN.is_set():
            time.sleep(0.1)

    def download(self, address: str) -> None:
        """A thread waits for a server that says nothing for long, and the node for the thread."""
        host, port = address.split(":")

        def fetch() -> None:
            with socket.create_connection((host, int(port))) as connection:
                connection.recv(1)

        thread = threading.Thread(target=fetch)
        thread.start()
        thread.join()

    def child(self, _: str) -> None:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(4)"])
        while process.poll() is None:
            time.sleep(0.1)


class AwaitsPage(_Waits):
    """The same, as a coroutine."""

    async def run(self, image: Any, how: str, address: str = "") -> tuple[Any]:
        while not CHOSEN.is_set():  # noqa: ASYNC110 - so do packs.
            await asyncio.sleep(0.1)
        return (image,)
