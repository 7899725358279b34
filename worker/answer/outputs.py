"""Collects a run's ``Result``: files and texts that its nodes named, and files that they saved without naming them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from worker.answer.kinds import media_type
from worker.answer.result import Artifact, Result, Text
from worker.engine.graph_run import RunResult
from worker.engine.workspace import Workspace
from worker.redact import encodable

_MOST_TEXT = 50_000_000  # Characters in one answer. There are several copies of them before they are sent.


def collect(ran: RunResult) -> Result:
    """Find the files and texts that ``ran`` names. Previews (``type`` is ``temp``) and very long texts are left out.

    The artifacts include files that an output node saved without naming them, as CheckpointSave does. Each file that is
    named but does not exist gets an error line.
    """
    began = time.perf_counter()
    workspace = ran.run.workspace
    artifacts: dict[tuple[str, str, str, str], Artifact] = {}
    texts: list[Text] = []
    errors = list(ran.errors)
    room = _MOST_TEXT
    for node_id, key, values in _lists(ran):
        for value in values:
            if key == "text":
                text = str(value)
                room -= len(text)
                if room < 0:
                    room += len(text)
                    errors.append(f"Node {node_id} showed a text that is too long to be sent: {len(text):,} characters")
                else:
                    texts.append(Text(node_id, encodable(text.replace(f"{workspace.state_root}/", ""))))
            elif isinstance(value, Mapping) and "filename" in value and value.get("type") != "temp":
                artifact = _artifact(node_id, key, value, workspace)
                if isinstance(artifact, str):
                    errors.append(artifact)
                else:
                    artifacts[node_id, key, artifact.subfolder, artifact.filename] = artifact
    named = tuple(artifacts.values())
    return Result(
        ran.status,
        (*named, *_unnamed(ran, named)),
        tuple(texts),
        tuple(errors),
        {**ran.seconds, "collect": time.perf_counter() - began},
        workspace,
        ran.error,
        ran.run.image_format,
        ran.run.warnings,
    )


def _unnamed(ran: RunResult, named: Iterable[Artifact]) -> Iterator[Artifact]:
    workspace = ran.run.workspace
    known = {os.path.normpath(artifact.path) for artifact in named}
    for node_id, paths in ran.unnamed.items():
        for inside in map(Path, paths):
            path = workspace.output / inside
            subfolder = "" if inside.parent == Path() else str(inside.parent)
            if os.path.normpath(path) not in known and path.is_file() and not path.is_symlink():
                yield Artifact(node_id, "files", path.name, subfolder, media_type(path.name), path, workspace)


def _lists(ran: RunResult) -> Iterator[tuple[str, str, list[Any]]]:
    for node_id, outputs in ran.outputs.items():
        for output in outputs:
            for key, values in output.items():
                if isinstance(values, list | tuple):
                    yield node_id, key, list(values)


def _artifact(node_id: str, key: str, entry: Mapping[str, Any], workspace: Workspace) -> Artifact | str:
    """The artifact, or an error line that says why there is none."""
    filename, subfolder = str(entry["filename"]), str(entry.get("subfolder") or "")
    if not _is_a_name(filename + subfolder):
        return f"Node {node_id} named an output that no file can have: {filename!r}"
    base = workspace.input if entry.get("type") == "input" else workspace.output
    path = base / subfolder / filename
    if not _is_inside(path, base, has_folders=bool(subfolder) or "/" in filename):
        return f"Node {node_id} named an output outside of the output folder: {encodable(path.name[:200])}"
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for names that no file can have.
        return f"Node {node_id} named an output that is not there: {encodable(path.name[:200])}"
    inside = os.path.relpath(path, base) if subfolder or "/" in filename else filename
    return Artifact(node_id, key, filename, os.path.dirname(inside), media_type(filename), path, workspace)  # noqa: PTH120


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
