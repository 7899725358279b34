"""ComfyUI's bare executor, inside an open worker's process: what every design must do at least."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from worker import Worker
from worker.comfy_runtime.executor import build_executor

Bare = Callable[..., list[str]]


def bare_executor(worker: Worker) -> Bare:
    """A second ``PromptExecutor`` on the caller's thread, without anything of the worker around it.

    The function takes a workflow and its input files by name; it writes these, runs the workflow with ComfyUI's own
    SaveImage, and gives each saved file as base64.
    """
    runtime = worker.runtime
    if runtime is None:
        raise RuntimeError("the worker is not open")
    prompts: Any = runtime.prompts
    execution, state = prompts._main.execution, runtime.state
    executor = build_executor(prompts._main, prompts._server)
    save_image = prompts._main.nodes.SaveImage

    def run(workflow: dict[str, Any], images: Mapping[str, bytes] | None = None) -> list[str]:
        for name, content in (images or {}).items():
            (state.input / name).write_bytes(content)
        ours = save_image.save_images
        save_image.save_images = ours.__wrapped__  # ComfyUI's own.
        try:
            return execute(workflow)
        finally:
            save_image.save_images = ours

    def execute(workflow: dict[str, Any]) -> list[str]:
        prompt_id = str(uuid.uuid4())
        valid = asyncio.run(execution.validate_prompt(prompt_id, workflow, None))
        if not valid[0]:
            raise RuntimeError(f"the bare executor refuses the workflow: {valid[1]}")
        executor.execute(workflow, prompt_id, {"client_id": "bare"}, valid[2])
        if not executor.success:
            raise RuntimeError(f"the bare executor failed: {executor.status_messages[-1]}")
        return [_taken(path) for path in _saved(executor.history_result["outputs"], state.output)]

    return run


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
