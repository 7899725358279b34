"""Where a job's input files lie on a server, and how its graph names them there.

A server has one input folder for everybody. So a job's files get a folder of their own, named by their content: nobody
guesses it, an equal job finds ComfyUI's cached results, and nodes that know files by name alone mix no two of them up.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

_SEPARATORS = re.compile(r"[/\\](?:\.?[/\\])*")
_ANNOTATION = re.compile(r"\s*\[input\]$")
_LISTED_FOLDERS = ("3d",)  # Of which ComfyUI's nodes offer the files, wherever in it they lie, and take no others.
_FOLDER_INPUT = re.compile(r"folder|directory|path", re.IGNORECASE)
_TEXT_INPUT = re.compile(r"prefix|text|prompt|caption|title", re.IGNORECASE)


def job_folder(staged: Mapping[str, str]) -> str:
    """The folder for files that have these content hashes by name."""
    listing = "\n".join(f"{content} {name}" for name, content in sorted(staged.items()))
    return f"worker-{hashlib.blake2b(listing.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def place(name: str, folder: str) -> tuple[str, str]:
    """``(subfolder, filename)`` of a file that the caller calls ``name``, below the job's ``folder``."""
    *parents, filename = _plain(name).split("/")
    if parents and parents[0] in _LISTED_FOLDERS:
        return "/".join([parents[0], folder, *parents[1:]]), filename
    return "/".join([folder, *parents]), filename


def renamed(graph: Mapping[str, Any], names: Mapping[str, str], folder: str) -> dict[str, Any]:
    """``graph`` with each input that is the name of a file, or of the folder of one, replaced.

    Args:
        graph: an API-format workflow.
        names: the server's name of each file by the caller's.
        folder: the job's, on the server.
    """
    known = {_plain(name): there for name, there in names.items()}
    folders = {str(parent) for name in known for parent in PurePosixPath(name).parents} - {"."}

    def replace(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {inner_key: replace(inner, inner_key) for inner_key, inner in value.items()}
        if isinstance(value, list) and not _is_link(value):
            return [replace(inner, key) for inner in value]
        if not isinstance(value, str):
            return value
        plain = _plain(_ANNOTATION.sub("", value))
        # A file may be called as a word is; where a text is wanted, it is one.
        if plain in known and not _TEXT_INPUT.search(key):
            return known[plain]
        if plain in folders and _FOLDER_INPUT.search(key):
            return place(f"{plain}/x", folder)[0]
        return value

    return {
        node_id: {**node, "inputs": {key: replace(value, key) for key, value in node["inputs"].items()}}
        for node_id, node in graph.items()
    }


def _is_link(value: list[Any]) -> bool:
    return len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def _plain(name: str) -> str:
    return _SEPARATORS.sub("/", name.removeprefix("./")).rstrip("/")
