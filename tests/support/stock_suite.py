"""A pytest plugin: ComfyUI's own test suite, unedited, against the embedded backend.

The suite starts servers with ``subprocess.Popen(["python", "main.py", …])`` and talks to them over HTTP and websocket.
Here such a call starts no process: this process's ComfyUI takes the server's cache flags, its web application listens
on the port, and what is posted to ``/prompt`` is run by ``EmbeddedBackend``, each prompt as a job of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import time
import types
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from worker import Worker
from worker.embedded.backend import EmbeddedBackend
from worker.embedded.executor import build_executor
from worker.embedded.prompts import Accepted, Rejection
from worker.engine.graph_run import GraphRun
from worker.engine.workspace import Workspace

Answer = tuple[int, dict[str, Any]]


class Facade:
    """The web application of this process's ComfyUI, with prompts that go through the backend."""

    def __init__(self, worker: Worker) -> None:
        assert worker.runtime is not None
        assert isinstance(worker._backend, EmbeddedBackend)
        self.runtime = worker.runtime
        self.backend = worker._backend
        self.prompts = worker.runtime.prompts
        self.main = self.runtime.main
        self.server = self.prompts._server
        self.posted: dict[GraphRun, tuple[dict[str, Any], Future[Answer]]] = {}
        self.workspaces: list[Workspace] = []
        self.site: web.TCPSite | None = None
        self._take_over()

    def _take_over(self) -> None:
        ours, stock = self.server.send_sync, self.main.server.PromptServer.send_sync

        def send_sync(event: Any, data: Any, sid: str | None = None) -> None:
            ours(event, data, sid)
            stock(self.server, event, data, sid)

        self.server.send_sync = send_sync
        self.prompts.queue_prompt = self._queue_prompt  # type: ignore[method-assign, assignment]
        self.prompts.end_job = self._end_job  # type: ignore[method-assign]
        self.server.app.middlewares.insert(0, self._middleware())
        asyncio.run_coroutine_threadsafe(self.server.publish_loop(), self.server.loop)

    def _queue_prompt(self, graph: dict[str, Any], _: Any) -> Accepted | Rejection:
        """In place of ``PromptRunner.queue_prompt``: the client's own body, and the answer for the client."""
        assert self.backend._turns.current is not None
        body, waiting = self.posted.pop(self.backend._turns.current.run)
        route = self.prompts._route({**body, "prompt": graph})
        status, answer = asyncio.run_coroutine_threadsafe(route, self.server.loop).result()
        waiting.set_result((status, answer))
        if status == 200:
            return Accepted(answer["prompt_id"], answer["node_errors"])
        return Rejection(answer.get("error") or {}, answer.get("node_errors") or {})

    def _end_job(self) -> None:
        """In place of ``PromptRunner.end_job``: the suite asks for the history of prompts that have ended."""
        self.prompts._client.close()
        self.server.prompt_queue.wipe_queue()

    def _middleware(self) -> Any:
        @web.middleware
        async def through_backend(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if request.method == "POST" and request.path == "/prompt":
                return await self._post_prompt(await request.json())
            if request.path == "/view":
                return web.Response(body=await asyncio.to_thread(self._find, request.query))
            return await handler(request)

        return through_backend

    async def _post_prompt(self, body: dict[str, Any]) -> web.Response:
        workspace = self.runtime.state.new_workspace()
        self.workspaces.append(workspace)
        run = GraphRun(body["prompt"], workspace)
        waiting: Future[Answer] = Future()
        self.posted[run] = body, waiting
        self.backend.submit(run)
        status, answer = await asyncio.wrap_future(waiting)
        return web.json_response(answer, status=status)

    def _find(self, query: Any) -> bytes:
        """A file where ComfyUI has just put it, or where it goes with its job meanwhile."""
        relative: Path = Path(query["type"]) / query.get("subfolder", "") / query["filename"]
        for _ in range(100):
            for root in (self.runtime.state.root, *(workspace.root for workspace in reversed(self.workspaces))):
                with contextlib.suppress(FileNotFoundError):
                    return (root / relative).read_bytes()
            time.sleep(0.02)
        raise web.HTTPNotFound

    def serve(self, command: list[str]) -> None:
        """Be the server that ``command`` would have started."""
        parser = argparse.ArgumentParser(add_help=False)
        for name in ("--listen", "--port", "--cache-lru"):
            parser.add_argument(name, default="0")
        parser.add_argument("--cache-classic", action="store_true")
        parser.add_argument("--cache-none", action="store_true")
        flags, _ = parser.parse_known_args(command)
        args = self.main.args
        args.cache_lru, args.cache_none = int(flags.cache_lru), flags.cache_none
        if hasattr(args, "cache_classic"):
            args.cache_classic = flags.cache_classic
        executor = build_executor(self.main, self.server)
        self.prompts._executor = self.runtime.files.reuse.cache.executor = executor
        self.server.prompt_queue.wipe_history()
        if self.site is None:
            listening = asyncio.run_coroutine_threadsafe(self._listen(flags.listen, int(flags.port)), self.server.loop)
            listening.result(10)

    def kill(self) -> None:
        """Lose all clients, as a server does that is killed; the suite connects again under the same id."""

        async def close() -> None:
            for socket in list(self.server.sockets.values()):
                await socket.close()
            while self.server.sockets:  # noqa: ASYNC110 - ComfyUI tells nobody when one is gone.
                await asyncio.sleep(0.01)

        asyncio.run_coroutine_threadsafe(close(), self.server.loop).result(20)

    async def _listen(self, address: str, port: int) -> None:
        runner = web.AppRunner(self.server.app, access_log=None)
        await runner.setup()
        self.site = web.TCPSite(runner, address, port)
        await self.site.start()


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Shorten the suite's waits of four seconds for a server to start: here it listens at once."""
    clock = types.SimpleNamespace(**vars(time))
    clock.sleep = lambda seconds: time.sleep(seconds if seconds < 4 else 0.05)
    for module in {item.module for item in items}:
        if hasattr(module, "time"):
            module.time = clock


@pytest.fixture(scope="session", autouse=True)
def embedded_servers() -> Iterator[None]:
    """Starts the worker, and stands in for the servers that the suite starts."""
    with Worker() as worker:
        facade = Facade(worker)
        popen = subprocess.Popen

        class Server(popen):  # type: ignore[valid-type, misc]
            """``Popen``, but for a ComfyUI server."""

            def __new__(cls, command: Any, *args: Any, **kwargs: Any) -> Any:
                if isinstance(command, list) and command[:2] == ["python", "main.py"]:
                    facade.serve(command)
                    return argparse.Namespace(kill=facade.kill)
                return popen(command, *args, **kwargs)

        subprocess.Popen = Server  # type: ignore[misc, assignment]
        yield
        subprocess.Popen = popen  # type: ignore[misc]
