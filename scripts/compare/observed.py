"""What is seen of one side: its packs, its node classes, and what each workflow gave."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from compare.options import Case

# Variables of both sides. A pack that makes a list of a set has the same order on both.
SAME_ORDER = {"PYTHONHASHSEED": "0"}
START_S = 600  # Many packs import large packages.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+>")
SUCCESS, FAILED, REFUSED, LATE, ENDED = "success", "failed", "refused", "too late", "ended the process"


@dataclass(frozen=True)
class Pack:
    """A pack's import. ``error``: why it failed; None if it did not."""

    name: str
    seconds: float
    error: str | None = None


@dataclass
class Ran:
    """What one workflow gave.

    Attributes:
        outcome: ``SUCCESS`` or another of these texts.
        lines: what was said of it, for people.
        nodes: ids of the nodes that failed.
        files: each saved file by its place in the output folder.
        sent: pictures that went to ComfyUI's page alone.
        texts: ``(node id, text)`` for each text that was shown.
        ui: the ui dicts of each node, by its id.
    """

    outcome: str
    lines: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    sent: tuple[Path, ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    ui: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass
class Seen:
    """All that was seen of one side. ``classes``: what ``/object_info`` says, by node class."""

    packs: dict[str, Pack]
    classes: dict[str, Any]
    runs: dict[str, Ran] = field(default_factory=dict)


class Side(Protocol):
    """A ComfyUI that runs workflows: a stock server, or the worker. ``start`` may be called again after its end."""

    def start(self) -> AbstractContextManager[Seen]:
        """Start it, and see its packs and classes."""

    def run(self, case: Case, folder: Path) -> Ran:
        """Run a workflow, and put its files into ``folder``."""


def texts_of(ui: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, str]]:
    """``(node id, text)`` of each text or number that nodes show, under any key."""
    for node_id, dicts in ui.items():
        for values in (values for shown in dicts for values in shown.values()):
            for value in values if isinstance(values, list | tuple) else ():
                if isinstance(value, str | int | float) and not isinstance(value, bool):
                    yield node_id, str(value)


def names_of(*folders: Path) -> tuple[str, ...]:
    """Each folder as texts may name it, for ``plain``: with its links and without, the longest name first."""
    names = {text for folder in folders for path in (folder, folder.resolve()) for text in (f"{path}/", f"{path}")}
    return tuple(sorted(names, key=len, reverse=True))


def plain(value: Any, folders: Sequence[str]) -> Any:
    """``value`` as JSON has it, without paths of ``folders``, names of previews and addresses of objects."""
    if isinstance(value, Mapping):
        shown = {str(key): plain(inner, folders) for key, inner in value.items()}
        return {**shown, "filename": "…"} if shown.get("type") == "temp" and "filename" in shown else shown
    if isinstance(value, list | tuple):
        return [plain(inner, folders) for inner in value]
    if isinstance(value, str):
        for folder in folders:
            value = value.replace(folder, "")
        value = _ADDRESS.sub(" at …>", value)
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
