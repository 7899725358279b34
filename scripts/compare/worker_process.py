"""Runs workflows with the worker in a process of its own: ``python -m compare.worker_process``, the child."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.contenders.pipe import Message, Pipe, die_with_parent

from worker import Worker
from worker.events import Event, NodeOutput
from worker.handler import make_handler
from worker.readiness import make_ready


def main() -> None:
    """Start the worker, tell of its packs and classes, then answer requests until the parent ends."""
    die_with_parent(signal.SIGKILL)
    pipe = Pipe()
    try:
        worker = Worker().start()
        make_ready(worker)
        pipe.send(_about(worker))
    except Exception as error:  # noqa: BLE001 - the parent reports it.
        pipe.send({"error": f"{type(error).__name__}: {error}"})
        return
    while (message := pipe.receive()) is not None:
        pipe.send(_answer(worker, message["job"], Path(message["folder"])))


def object_info(worker: Worker) -> dict[str, Any]:
    """What ``/object_info`` of the worker's ComfyUI says."""
    server = worker.embedded_runtime().prompts._server
    route = next(route.handler for route in server.routes if (route.method, route.path) == ("GET", "/object_info"))
    classes: dict[str, Any] = json.loads(asyncio.run_coroutine_threadsafe(route(None), server.loop).result().text)
    return classes


def _about(worker: Worker) -> Message:
    runtime = worker.embedded_runtime()
    return {
        "classes": object_info(worker),
        "packs": [[pack.name, pack.seconds, pack.error] for pack in runtime.node_packs],
        "folders": [str(worker.state.root), str(runtime.source.base), str(runtime.source.path)],
    }


def _answer(worker: Worker, job: dict[str, Any], folder: Path) -> Message:
    """The handler's answer, with the paths of its files in place of their content, and what nodes showed meanwhile."""
    ui: dict[str, list[Any]] = {}

    def listen(event: Event) -> None:
        if isinstance(event, NodeOutput):
            ui.setdefault(event.node_id, []).append(event.output)

    answer = asyncio.run(make_handler(worker, listen)(job))
    files = dict(_written(answer, folder))
    rest = {key: value for key, value in answer.items() if key not in ("images", "files")}
    return {"answer": rest, "files": files, "ui": json.loads(json.dumps(ui, default=repr))}


def _written(answer: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    for entry in (*answer.get("images", ()), *answer.get("files", ())):
        place = Path(entry.get("subfolder", ""), entry["filename"])
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(entry["data"]))
        yield str(place), str(path)


if __name__ == "__main__":
    main()
