"""Runs jobs with ComfyUI's bare executor in a worker's process, to show what every design must do at least."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker import Worker
from worker.embedded.backend import EmbeddedBackend
from worker.embedded.executor import build_executor
from worker.engine.graph_run import GraphRun, RunResult
from worker.engine.turn import Turn
from worker.engine.turns import Turns
from worker.engine.workspace import StateFolder


@dataclass(frozen=True)
class BareRun:
    """A run's result. ``files``: each saved file as base64. ``ms``: milliseconds that the run took."""

    files: list[str]
    ms: float


class BareExecutor:
    """A second ``PromptExecutor`` in the process of ``worker``, without the worker's own code around it.

    It runs on the worker's executor thread. For a second thread OpenMP would start more threads, which would slow both
    down.
    """

    def __init__(self, worker: Worker) -> None:
        backend = worker._backend
        if worker.runtime is None or not isinstance(backend, EmbeddedBackend):
            raise RuntimeError("the worker is not open")
        self._main, self._state = worker.runtime.main, worker.runtime.state
        self._executor = build_executor(self._main, worker.runtime.prompts._server)
        self._on_its_thread = _executor_thread(backend._turns, self._state)

    def __call__(self, workflow: dict[str, Any], images: Mapping[str, bytes] | None = None) -> BareRun:
        """Run ``workflow`` with input files by name, and read the files that it saved."""
        return self._on_its_thread(lambda: self._timed(workflow, images or {}))

    def _timed(self, workflow: dict[str, Any], images: Mapping[str, bytes]) -> BareRun:
        save_image = self._main.nodes.SaveImage
        ours = save_image.save_images
        save_image.save_images = ours.__wrapped__  # ComfyUI's own.
        start = time.perf_counter()
        try:
            for name, content in images.items():
                (self._state.input / name).write_bytes(content)
            files = self._execute(workflow)
            return BareRun(files, (time.perf_counter() - start) * 1000)
        finally:
            save_image.save_images = ours

    def _execute(self, workflow: dict[str, Any]) -> list[str]:
        prompt_id = str(uuid.uuid4())
        valid = asyncio.run(self._main.execution.validate_prompt(prompt_id, workflow, None))
        if not valid[0]:
            raise RuntimeError(f"the bare executor refuses the workflow: {valid[1]}")
        self._executor.execute(workflow, prompt_id, {"client_id": "bare"}, valid[2])
        if not self._executor.success:
            raise RuntimeError(f"the bare executor failed: {self._executor.status_messages[-1]}")
        return [_taken(path) for path in _saved(self._executor.history_result["outputs"], self._state.output)]


def _executor_thread(turns: Turns, state: StateFolder) -> Callable[[Callable[[], BareRun]], BareRun]:
    """A function that runs its argument on the executor's thread, in a turn of its own."""
    waiting: dict[GraphRun, Callable[[], None]] = {}
    perform = turns._perform

    def instead(turn: Turn) -> RunResult:
        work = waiting.pop(turn.run, None)
        if work is None:
            return perform(turn)
        work()
        return RunResult(turn.run, "success", {})

    turns._perform = instead

    def do(work: Callable[[], BareRun]) -> BareRun:
        done: list[BareRun] = []
        job = GraphRun({}, state.new_workspace())
        waiting[job] = lambda: done.append(work())
        turns.submit(job).result()
        return done[0]

    return do


def _saved(outputs: Mapping[str, Any], folder: Path) -> list[Path]:
    return [
        folder / entry["subfolder"] / entry["filename"]
        for node_output in outputs.values()
        for entries in node_output.values()
        for entry in entries
        if isinstance(entry, dict) and entry.get("type") == "output"
    ]


def _taken(path: Path) -> str:
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    path.unlink()
    return encoded
