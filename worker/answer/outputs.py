"""Collects a run's ``Result``: what its nodes saved and showed, and a line for each that gave nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from worker.answer.kinds import media_type
from worker.answer.reply import plain
from worker.answer.result import Artifact, Result, Text
from worker.answer.silent import silent_nodes
from worker.engine.graph_run import RunResult
from worker.engine.workspace import Workspace
from worker.redact import encodable, listed

_MOST_TEXT = 50_000_000  # Characters in one answer. There are several copies of them before they are sent.
_MOST_NAMES = 5  # In one line.


def collect(ran: RunResult) -> Result:
    """Find the files and texts that ``ran`` names. Previews (``type`` is ``temp``) and very long texts are left out.

    The artifacts include files that a node saved without naming them, as CheckpointSave does. Each file that is
    named but does not exist gets an error line. A node that saved elsewhere has done its work, so it gets a warning.
    """
    began = time.perf_counter()
    found = _Found(ran.run.workspace, list(ran.errors))
    for node_id, key, values in _lists(ran):
        for value in values:
            found.value(node_id, key, value)
    named = tuple(found.artifacts.values())
    artifacts = (*named, *_unnamed(ran, named))
    return Result(
        ran.status,
        artifacts,
        tuple(found.texts),
        tuple(found.errors),
        {**ran.seconds, "collect": time.perf_counter() - began},
        ran.run.workspace,
        ran.error,
        ran.run.image_format,
        (*ran.warnings, *found.warnings(), *silent_nodes(ran, found.heard.union(a.node_id for a in artifacts))),
        plain(ran.ui, found.shown) if ran.run.report_ui else {},
        ran.run.sent,
    )


@dataclass
class _Found:
    """What has been found so far.

    ``outside``: names of files that are not in the output folder, by node id. ``heard``: the nodes that the caller gets
    something of, or a line about, or that have only shown a preview.
    """

    workspace: Workspace
    errors: list[str]
    lines: list[str] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)
    artifacts: dict[tuple[str, str, Path], Artifact] = field(default_factory=dict)
    texts: list[Text] = field(default_factory=list)
    outside: dict[str, list[str]] = field(default_factory=dict)
    room: int = _MOST_TEXT

    def value(self, node_id: str, key: str, value: Any) -> None:
        """Take one value of a list in a node's ui dict: a file, a text or a number, or what is none of these."""
        if key != "text" and isinstance(value, Mapping) and "filename" in value:
            self.heard.add(node_id)
            if value.get("type") != "temp":
                self.file(node_id, key, value)
        elif isinstance(value, Mapping) and "source" in value:  # A picture for the page, which is a file by now.
            self.heard.add(node_id)
        elif key == "text" or (isinstance(value, str | Real) and not isinstance(value, bool)):
            self.heard.add(node_id)
            self.text(node_id, key, value)

    def text(self, node_id: str, key: str, value: Any) -> None:
        lines = self.errors if key == "text" else self.lines  # No job fails for a text that few look for.
        try:
            text = str(value)
        except Exception as error:  # noqa: BLE001 - a node may show any object.
            lines.append(f"Node {node_id} showed what cannot be made a text ({type(error).__name__})")
            return
        if len(text) > self.room:
            lines.append(f"Node {node_id} showed a text that is too long to be sent: {len(text):,} characters")
            return
        self.room -= len(text)
        self.texts.append(Text(node_id, self.shown(text), self.shown(key)))

    def shown(self, text: str) -> str:
        """``text`` without the folder of all jobs' files."""
        return encodable(text.replace(f"{self.workspace.state_root}/", ""))

    def file(self, node_id: str, key: str, entry: Mapping[str, Any]) -> None:
        filename, subfolder = str(entry["filename"]), str(entry.get("subfolder") or "")
        if not _is_a_name(filename + subfolder):
            self.errors.append(f"Node {node_id} named an output that no file can have: {filename!r}")
            return
        folder = "input" if entry.get("type") == "input" else "output"
        base = getattr(self.workspace, folder)
        inside = path_inside(self.workspace.state_root / folder, subfolder, filename)
        path = base / (filename if inside is None else inside)
        if inside is None or not _is_inside(path, base, has_folders="/" in inside):
            self.outside.setdefault(node_id, []).append(encodable(path.name[:200]))
        elif not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for names that no file can have.
            self.errors.append(f"Node {node_id} named an output that is not there: {encodable(path.name[:200])}")
        else:
            parent, name = os.path.split(inside)
            self.artifacts[node_id, key, path] = Artifact(
                node_id, key, name, parent, media_type(name), path, self.workspace
            )

    def warnings(self) -> Iterator[str]:
        """A line for each text that is left out, and for each node that has named files outside the output folder."""
        yield from self.lines
        for node_id, names in self.outside.items():
            shown = listed(names, _MOST_NAMES)
            if len(names) == 1:
                yield f"Node {node_id} named an output outside of the output folder, which is not sent: {shown}"
            else:
                many = f"{len(names)} outputs outside of the output folder, which are not sent"
                yield f"Node {node_id} named {many}: {shown}"


def path_inside(folder: Path, subfolder: str, filename: str) -> str | None:
    """The path of a file below ComfyUI's ``folder``, as a node names it; None if it is elsewhere.

    A node may also name the file, or its folder, by its full path.
    """
    if not subfolder and "/" not in filename:
        return filename
    path = os.path.normpath(os.path.join(folder, subfolder, filename))  # noqa: PTH118
    for base in (str(folder), os.path.realpath(folder)):
        if path.startswith(f"{base}/"):
            return path[len(base) + 1 :]
    return None


def _unnamed(ran: RunResult, named: Iterable[Artifact]) -> Iterator[Artifact]:
    workspace = ran.run.workspace
    known = {os.path.normpath(artifact.path) for artifact in named}
    for node_id, paths in ran.unnamed.items():
        for inside in map(Path, paths):
            path = workspace.output / inside
            subfolder = "" if inside.parent == Path() else str(inside.parent)
            if os.path.normpath(path) not in known and path.is_file() and not path.is_symlink():
                kind = media_type(path.name)
                yield Artifact(node_id, "files", path.name, subfolder, kind, path, workspace, is_named=False)


def _lists(ran: RunResult) -> Iterator[tuple[str, str, list[Any]]]:
    for node_id, outputs in ran.outputs.items():
        for output in outputs:
            for key, values in output.items():
                if isinstance(values, list | tuple):
                    yield node_id, key, list(values)


def _is_a_name(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _is_inside(path: Path, base: Path, *, has_folders: bool) -> bool:
    """Whether ``path`` is in ``base`` once links are followed. ``has_folders``: whether folders are between the two."""
    if not has_folders and path.name not in ("..", ".") and not os.path.islink(path):  # noqa: PTH114
        return True
    return os.path.realpath(path).startswith(os.path.realpath(base) + "/")
