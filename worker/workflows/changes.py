"""Applies the ``set`` of a request, or ``run --set``, to a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worker.convert.handles import Handle
from worker.convert.node.definitions import Definitions
from worker.errors import InvalidJob
from worker.job.job import Workflow
from worker.job.shown import quoted
from worker.workflows.address import Nodes
from worker.workflows.inputs import Input, Typed, brought_values, value_for

Changes = Mapping[str, Any]


def changed(
    workflow: Workflow, changes: Iterable[Changes], definitions: Definitions, handles: Sequence[Handle] = ()
) -> Workflow:
    """``workflow`` with other values. ``workflow`` itself is not changed.

    Args:
        workflow: a graph in ComfyUI's API format.
        changes: values by ``NODE.INPUT``. Later mappings win.
        definitions: what its node classes declare.
        handles: what the editor shows for inputs of ``workflow``.

    Raises:
        InvalidJob: a name means no input or several, or its input does not take this value. The text says why.
        BackendFailed: the server does not say what a class takes.
    """
    workflow = dict(workflow)
    nodes = Nodes(workflow, definitions, handles)
    own: set[str] = set()
    for values in changes:
        known: dict[tuple[str, str], str] = {}
        for key, value in values.items():
            for node_id, found in nodes.find(key):
                other = known.setdefault((node_id, found.name), key)
                if other != key:
                    raise InvalidJob(f"'set': {quoted(other)} and {quoted(key)} are the same input: set it once")
                if node_id not in own:
                    own.add(node_id)
                    workflow[node_id] = {**workflow[node_id], "inputs": {**workflow[node_id]["inputs"]}}
                _set(workflow[node_id]["inputs"], found, value_for(found, value, quoted(key)))
    return workflow


def _set(inputs: dict[str, Any], found: Input, value: Any) -> None:
    inputs[found.name] = value
    for name, first in brought_values(found, value):
        inputs.setdefault(name, first)


def typed_change(text: str) -> tuple[str, Typed]:
    """Read ``NODE.INPUT=VALUE`` as somebody has typed it.

    Raises:
        InvalidJob: it has another form.
    """
    key, separator, value = text.partition("=")
    if not separator or not all(key.rpartition(".")):
        raise InvalidJob(f"--set {quoted(text)}: it takes NODE.INPUT=VALUE, such as 3.seed=42")
    return key, Typed(value)


def check_nodes(workflow: Workflow, changes: Iterable[Changes]) -> None:
    """Refuse changes of nodes that are not there, before ComfyUI runs and the classes are known.

    Raises:
        InvalidJob: there is no such node.
    """
    nodes = Nodes(workflow, None)
    for values in changes:
        for key in values:
            nodes.check(key)
