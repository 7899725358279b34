"""Makes the titles that callers give to nodes fit to be shown: one short line, without secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from worker.events import title_of
from worker.redact import masked

_MOST = 100  # Characters of a title that are shown.
_READ = 2000  # Characters that are looked at. A secret has fewer, so none is cut before it can be found.


def node_title(workflow: Mapping[str, Any], node_id: str, secrets: Iterable[str | None] = ()) -> str:
    """The title of a node of an API graph: its ``_meta.title``. Empty if it has none.

    Args:
        workflow: the graph.
        node_id: the node's id.
        secrets: texts that must not be shown.
    """
    title = title_of(workflow.get(node_id))
    return one_short_line(masked(title[:_READ], secrets)) if title is not None else ""


def one_short_line(text: str) -> str:
    """The beginning of ``text``, with a space for each character that cannot be printed, such as lone surrogates."""
    line = " ".join(printable(text[:_READ]).split())
    return line if len(line) <= _MOST else line[: _MOST - 1] + "…"


def printable(text: str) -> str:
    """``text`` with a space for each character that cannot be printed, such as those that command a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
