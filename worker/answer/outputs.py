"""A run's ui dicts → the artifacts a caller gets."""

from __future__ import annotations

import functools
import mimetypes
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.engine.graph_run import RunResult
from worker.engine.workspace import Workspace
from worker.redact import encodable

# What Python's own table lacks of the kinds that ComfyUI's nodes save.
_MEDIA_TYPES = {
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".exr": "image/x-exr",
    ".mkv": "video/x-matroska",
    ".flac": "audio/flac",
    ".opus": "audio/ogg",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".obj": "model/obj",
    ".stl": "model/stl",
    ".latent": "application/x-latent",
    ".safetensors": "application/x-safetensors",
}


@dataclass(frozen=True)
class Artifact:
    """One file that a node saved.

    ``key``: the node's ui key (``images``, ``gifs``, ``audio``, …). ``filename`` and ``subfolder`` are ComfyUI's own.
    The file lives as long as this object.
    """

    node_id: str
    key: str
    filename: str
    subfolder: str
    media_type: str
    path: Path
    _workspace: Workspace = field(repr=False)

    @property
    def is_input(self) -> bool:
        """Whether it lies in the job's input folder, where another file may have the same name."""
        return self.path.is_relative_to(self._workspace.input)

    def read(self) -> bytes:
        """The whole file."""
        return self.path.read_bytes()


@dataclass(frozen=True)
class Text:
    """A text that a node showed."""

    node_id: str
    text: str


@dataclass(frozen=True)
class Collected:
    """Everything a run leaves behind for its caller. ``errors``: a line for each file that is named but not there."""

    artifacts: tuple[Artifact, ...]
    texts: tuple[Text, ...]
    errors: tuple[str, ...]


def collect(result: RunResult, workspace: Workspace) -> Collected:
    """Find the files and texts that ``result`` names; previews (``type`` is ``temp``) are left out.

    Files that an output node saved and did not name, as CheckpointSave does, are among ``files``.
    """
    artifacts: dict[tuple[str, str, str, str], Artifact] = {}
    texts: list[Text] = []
    errors: list[str] = []
    for node_id, key, values in _lists(result):
        for value in values:
            if key == "text":
                texts.append(Text(node_id, encodable(str(value).replace(f"{workspace.state_root}/", ""))))
            elif isinstance(value, Mapping) and "filename" in value and value.get("type") != "temp":
                artifact = _artifact(node_id, key, value, workspace)
                if isinstance(artifact, str):
                    errors.append(artifact)
                else:
                    artifacts[node_id, key, artifact.subfolder, artifact.filename] = artifact
    found = tuple(artifacts.values())
    return Collected((*found, *_unnamed(result, workspace, found)), tuple(texts), tuple(errors))


def _unnamed(result: RunResult, workspace: Workspace, named: Iterable[Artifact]) -> Iterator[Artifact]:
    known = {os.path.normpath(artifact.path) for artifact in named}
    for node_id, paths in result.unnamed.items():
        for inside in map(Path, paths):
            path = workspace.output / inside
            subfolder = "" if inside.parent == Path() else str(inside.parent)
            if os.path.normpath(path) not in known and path.is_file() and not path.is_symlink():
                yield Artifact(node_id, "files", path.name, subfolder, media_type(path.name), path, workspace)


def _lists(result: RunResult) -> Iterator[tuple[str, str, list[Any]]]:
    for node_id, outputs in result.outputs.items():
        for output in outputs:
            for key, values in output.items():
                if isinstance(values, list | tuple):
                    yield node_id, key, list(values)


def _artifact(node_id: str, key: str, entry: Mapping[str, Any], workspace: Workspace) -> Artifact | str:
    """The artifact, or a line that says why there is none."""
    filename, subfolder = str(entry["filename"]), str(entry.get("subfolder") or "")
    if not _is_a_name(filename + subfolder):
        return f"Node {node_id} named an output that no file can have: {filename!r}"
    base = workspace.input if entry.get("type") == "input" else workspace.output
    path = base / subfolder / filename
    if not _is_inside(path, base, plain=not subfolder and "/" not in filename):
        return f"Node {node_id} named an output outside of the output folder: {encodable(path.name[:200])}"
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib's raises for names that no file can have.
        return f"Node {node_id} named an output that is not there: {encodable(path.name[:200])}"
    inside = os.path.relpath(path, base) if subfolder or "/" in filename else filename
    return Artifact(node_id, key, filename, os.path.dirname(inside), media_type(filename), path, workspace)  # noqa: PTH120


def _is_a_name(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _is_inside(path: Path, base: Path, *, plain: bool) -> bool:
    """Whether ``path``, with every link followed, lies in ``base``. ``plain``: it names no folder below it."""
    if plain and path.name not in ("..", ".") and not os.path.islink(path):  # noqa: PTH114
        return True
    return os.path.realpath(path).startswith(os.path.realpath(base) + "/")


def media_type(filename: str) -> str:
    """The media type that ``filename`` stands for; ``application/octet-stream`` where it is unknown."""
    return _media_type(os.path.splitext(filename)[1].lower())  # noqa: PTH122 - done for every file of every job.


@functools.lru_cache(maxsize=256)
def _media_type(suffix: str) -> str:
    return _MEDIA_TYPES.get(suffix) or mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
