"""ComfyUI's ``PromptExecutor``: building it as each version does, and reading what became of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.errors import StartError


@dataclass(frozen=True)
class NodeFailure:
    """A node that raised. ``message`` is ComfyUI's text, with nothing taken out."""

    node_id: str
    node_type: str
    exception_type: str
    message: str


@dataclass(frozen=True)
class PromptOutcome:
    """What became of one prompt.

    ``outputs``: ui dict of each node that has one. ``display_ids``: the node that a user sees in its place.
    ``status``: ``success``, ``error`` or ``interrupted``. ``unsaved``: a line for each image that could not be encoded.
    ``unnamed``: files in the output folder that output nodes saved and did not name.
    """

    prompt_id: str
    status: str
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    display_ids: dict[str, str] = field(default_factory=dict)
    failure: NodeFailure | None = None
    unsaved: tuple[str, ...] = ()
    unnamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _QueueThatStops:
    """Ends ComfyUI's worker loop at its first look into the queue."""

    class Stop(Exception):
        """Raised instead of an answer."""

    def get(self, timeout: float | None = None) -> None:  # noqa: ARG002 - called with it.
        raise self.Stop


def build_executor(main: Any, server: Any) -> Any:
    """The ``PromptExecutor`` as this version's ``prompt_worker`` builds it: caches and arguments are its choice."""
    execution = main.execution
    original, built = execution.PromptExecutor, []

    def keep(*args: Any, **kwargs: Any) -> Any:
        built.append(original(*args, **kwargs))
        return built[-1]

    execution.PromptExecutor = keep
    try:
        main.prompt_worker(_QueueThatStops(), server)
    except _QueueThatStops.Stop:
        pass
    finally:
        execution.PromptExecutor = original
    if not built:
        raise StartError("This version of ComfyUI starts its executor in a way that the worker does not know")
    return built[0]


def outcome_of(prompt_id: str, executor: Any) -> PromptOutcome:
    """``executor.success`` can be stale (a dependency cycle); the last message is not."""
    history = executor.history_result
    name, data = executor.status_messages[-1]
    status = {"execution_success": "success", "execution_interrupted": "interrupted"}.get(name, "error")
    failure = None
    if status == "error":
        failure = NodeFailure(
            str(data.get("node_id")), str(data.get("node_type")), str(data.get("exception_type")),
            str(data.get("exception_message", name)),
        )  # fmt: skip
    display_ids = {node_id: str(meta.get("display_node", node_id)) for node_id, meta in history["meta"].items()}
    return PromptOutcome(prompt_id, status, dict(history["outputs"]), display_ids, failure)
