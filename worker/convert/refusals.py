"""Refuses a workflow whose nodes do not fit the classes that are here, with a line for each thing that does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from worker.convert.file.editor_file import Node
from worker.convert.link.sources import Scope
from worker.convert.node.definitions import Definitions
from worker.convert.node.fit import misfit
from worker.convert.node.widgets import MISSING, Widget
from worker.errors import WorkflowRejected
from worker.protocol.rejection import refusal

_ADVICE = (
    "The file does not fit what is installed here. Open it in the editor of a ComfyUI with the same versions, set these "
    "nodes anew and save it, or install what the file was made with."
)


def refuse_misfits(sent: Iterable[tuple[Scope, Node]], graph: Mapping[str, Any], definitions: Definitions) -> None:
    """Raise for what does not fit.

    Args:
        sent: the nodes of the API graph ``graph``.

    Raises:
        WorkflowRejected: something does not fit, or a class is missing.
    """
    bullets = list(_misfits(sent, graph, definitions))
    if bullets:
        raise WorkflowRejected(f"{refusal(bullets)}\n\n{_ADVICE}")


def _misfits(sent: Iterable[tuple[Scope, Node]], graph: Mapping[str, Any], definitions: Definitions) -> Iterator[str]:
    """A line for each thing that does not fit in the nodes of ``graph``, with the node's id, class and title."""
    for scope, node in sent:
        api_id = scope.api_id(node)
        title = graph[api_id]["_meta"]["title"]
        label = f"Node {api_id} ({node.type})" if title == node.type else f"Node {api_id} ({node.type}, {title!r})"
        definition = definitions.find(node.type)
        if definition is None:
            yield f"{label}: {definitions.why_missing(node.type)}"
            continue
        inputs = graph[api_id]["inputs"]
        wrong = (misfit(widget.spec, widget.value) for widget in _literal(node, inputs))
        for problem in (*node.misfits, *filter(None, wrong)):
            yield f"{label}: {problem}"


def _literal(node: Node, inputs: Mapping[str, Any]) -> Iterator[Widget]:
    """The widgets of ``node`` whose value is sent, with this value: it may be that of a promoted widget."""
    for widget in node.widgets:
        value = inputs.get(widget.name, MISSING)
        if widget.is_sent and not isinstance(value, list):
            yield replace(
                widget, value=value["__value__"] if isinstance(value, dict) and "__value__" in value else value
            )
