"""Decides where a job's input files are uploaded to, and renames them in its graph.

All jobs share the server's one input folder. So each job's files get a folder in it, named by a hash of their names and
content. Other callers cannot guess this name. A job with the same files can use ComfyUI's cached results. And a node
that recognizes files only by name does not confuse two files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from worker.protocol.links import is_link

_SEPARATORS = re.compile(r"[/\\](?:\.?[/\\])*")
_ANNOTATION = re.compile(r"\s*\[input\]$")
_LISTED_FOLDERS = ("3d",)  # Some of ComfyUI's nodes take only files that are somewhere below this folder.
_FOLDER_INPUT = re.compile(r"folder|directory|path", re.IGNORECASE)
_TEXT_INPUT = re.compile(r"prefix|text|prompt|caption|title", re.IGNORECASE)


def job_folder(staged: Mapping[str, str]) -> str:
    """The name of the folder for a job's files. ``staged``: the content hash of each file by its name."""
    listing = "\n".join(f"{content} {name}" for name, content in sorted(staged.items()))
    return f"worker-{hashlib.blake2b(listing.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def upload_target(name: str, folder: str) -> tuple[str, str]:
    """``(subfolder, filename)`` on the server for the caller's file ``name``. ``folder``: the job's folder there."""
    *parents, filename = _plain(name).split("/")
    if parents and parents[0] in _LISTED_FOLDERS:
        return "/".join([parents[0], folder, *parents[1:]]), filename
    return "/".join([folder, *parents]), filename


def renamed(graph: Mapping[str, Any], names: Mapping[str, str], folder: str) -> dict[str, Any]:
    """A copy of ``graph`` with the server's names of files and of their folders.

    Args:
        graph: an API-format workflow.
        names: each file's name on the server, by the name that the caller gave.
        folder: the job's folder on the server.
    """
    known = {_plain(name): there for name, there in names.items()}
    folders = {str(parent) for name in known for parent in PurePosixPath(name).parents} - {"."}

    def replace(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {inner_key: replace(inner, inner_key) for inner_key, inner in value.items()}
        if isinstance(value, list) and not is_link(value):
            return [replace(inner, key) for inner in value]
        if not isinstance(value, str):
            return value
        plain = _plain(_ANNOTATION.sub("", value))
        # A file's name may be a common word. So do not replace it in an input for text.
        if plain in known and not _TEXT_INPUT.search(key):
            return known[plain]
        if plain in folders and _FOLDER_INPUT.search(key):
            return upload_target(f"{plain}/x", folder)[0]
        return value

    return {
        node_id: {**node, "inputs": {key: replace(value, key) for key, value in node["inputs"].items()}}
        for node_id, node in graph.items()
    }


def _plain(name: str) -> str:
    return _SEPARATORS.sub("/", name.removeprefix("./")).rstrip("/")
