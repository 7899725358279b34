"""Finds the output nodes that ran and gave their caller nothing, so that no node does so without a word."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from worker.engine.graph_run import RunResult
from worker.redact import encodable

_MOST_KEYS = 5


def silent_nodes(ran: RunResult, heard: Collection[str]) -> Iterator[str]:
    """A line for each output node of ``ran`` of which its caller gets nothing.

    ``heard``: the nodes of which there is a file, a text, a preview or a line already.
    """
    for node_id, class_type in ran.shows.items():
        if node_id not in heard:
            node = encodable(f"Node {node_id} ({class_type})")
            keys = [key for output in ran.outputs.get(node_id, ()) for key, value in output.items() if _has(value)]
            if not keys:
                yield f"{node} named no file and showed nothing"
            elif not ran.run.report_ui:
                shown = encodable(", ".join(map(repr, dict.fromkeys(keys[:_MOST_KEYS]))))
                yield f"{node} showed what is neither a file nor a text ({shown}): 'ui': true in the request adds it"


def _has(value: Any) -> bool:
    """Whether there is something in a value of a ui dict."""
    return value is not None and not (isinstance(value, str | list | tuple | dict) and not value)
