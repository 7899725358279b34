"""Builds the ``PromptExecutor`` in the way that the installed version of ComfyUI does."""

from __future__ import annotations

from typing import Any

from worker.embedded import versions
from worker.errors import StartError


class _QueueThatStops:
    """Ends ComfyUI's worker loop when it first asks for a prompt."""

    class Stop(Exception):
        """Raised instead of returning a prompt."""

    def get(self, timeout: float | None = None) -> None:  # noqa: ARG002 - ComfyUI passes it.
        raise self.Stop


def build_executor(main: Any, server: Any) -> Any:
    """Build the ``PromptExecutor`` with this version's ``prompt_worker``, which also chooses its caches."""
    execution = main.execution
    original, built = execution.PromptExecutor, []

    def keep(*args: Any, **kwargs: Any) -> Any:
        built.append(original(*args, **kwargs))
        return built[-1]

    execution.PromptExecutor = keep
    try:
        versions.with_assets(
            main.prompt_worker, _QueueThatStops(), server, manager=getattr(server, "asset_manager", None)
        )
    except _QueueThatStops.Stop:
        pass
    finally:
        execution.PromptExecutor = original
    if not built:
        raise StartError("This version of ComfyUI starts its executor in a way that the worker does not know")
    return built[0]
