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
from worker.protocol.origins import pack_text, with_pack
from worker.protocol.rejection import refusal

_ADVICE = (
    "The file does not fit what is installed here. Open it in the editor of a ComfyUI with the same versions, set "
    "these nodes anew and save it, or install what the file was made with."
)


Places = Iterable[tuple[Scope, Node]]


def refuse_misfits(places: Places, graph: Mapping[str, Any], definitions: Definitions) -> None:
    """Raise for what does not fit.

    Args:
        places: the nodes that ``graph`` stands for, with instances of subgraphs and nodes that are off.
        graph: the API graph.

    Raises:
        WorkflowRejected: something does not fit, or a class is missing.
    """
    bullets = list(_misfits(places, graph, definitions))
    if bullets:
        raise WorkflowRejected(f"{refusal(bullets)}\n\n{_ADVICE}")


def _misfits(places: Places, graph: Mapping[str, Any], definitions: Definitions) -> Iterator[str]:
    """A line for each thing that does not fit, with the node's id, class and title."""
    for scope, node in places:
        api_id = scope.api_id(node)
        kind = node.type if node.id not in scope.inner else "a subgraph"
        label = (
            f"Node {api_id} ({kind})" if node.title in (None, node.type) else f"Node {api_id} ({kind}, {node.title!r})"
        )
        problems = list(node.misfits)
        if api_id in graph:
            if definitions.find(node.type) is None:
                reason = with_pack(definitions.why_missing(node.type), pack_text(node.properties))
                problems = problems or [reason]
            wrong = (misfit(widget.spec, widget.value) for widget in _literal(node, graph[api_id]["inputs"]))
            problems += filter(None, wrong)
        elif node.is_off:
            problems = []
        yield from (f"{label}: {problem}" for problem in problems)


def _literal(node: Node, inputs: Mapping[str, Any]) -> Iterator[Widget]:
    """The widgets of ``node`` whose value is sent, with this value: it may be that of a promoted widget."""
    for widget in node.widgets:
        value = inputs.get(widget.name, MISSING)
        if widget.is_sent and not isinstance(value, list):
            yield replace(
                widget, value=value["__value__"] if isinstance(value, dict) and "__value__" in value else value
            )
