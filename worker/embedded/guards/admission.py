"""Lets only reviewed node classes run while ``SAFE_NODES`` is on, also those that other nodes add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Admission:
    """``refusal``: returns why a node class may not run, or None. None: every class may."""

    def __init__(self) -> None:
        self.refusal: Callable[[Any], str | None] | None = None


def guard_admission(execution: Any, admission: Admission) -> None:
    """Let ``execution.get_input_data``, through which each node goes before it runs, refuse node classes.

    Nodes of a request are refused before. This is for nodes that another node, or a handler of a pack, adds.

    Args:
        execution: ComfyUI's module.
        admission: asked for each node.
    """
    get_input_data = execution.get_input_data

    def admitted(inputs: Any, class_def: Any, *args: Any, **kwargs: Any) -> Any:
        if admission.refusal is not None and (reason := admission.refusal(class_def)) is not None:
            raise PermissionError(f"A node of the class {class_def.__name__} was added, but {reason}")
        return get_input_data(inputs, class_def, *args, **kwargs)

    execution.get_input_data = admitted
