"""Uploads a job's input files to a server, and fetches its output files."""

from __future__ import annotations

import contextlib
import functools
import itertools
import posixpath
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.engine.graph_run import GraphRun
from worker.engine.workspace import Workspace
from worker.protocol.prompt_outcome import PromptOutcome, file_entries, with_entries
from worker.receipt.current import enter
from worker.remote.api import ComfyApi
from worker.remote.http import ServerRefused, ServerUnreachable
from worker.remote.names import job_folder, renamed, upload_target
from worker.remote.waiting import begun, result_of

_FETCHES = 4
_MOST_FOLDERS = 50  # In a path.


def upload_inputs(
    api: ComfyApi,
    graph: Mapping[str, Any],
    staged: Mapping[str, str],
    folder: Path,
    is_interrupted: Callable[[], bool],
) -> dict[str, Any]:
    """Upload the files in ``folder``, and return a copy of ``graph`` with their names on the server.

    Args:
        staged: content hash of each file, by the file's name.

    Raises:
        JobInterrupted, ServerUnreachable, ServerRefused
    """
    enter("transfer")
    there = job_folder(staged)

    def upload() -> dict[str, str]:
        names = {}
        for name in staged:
            subfolder, filename = upload_target(name, there)
            names[name] = api.upload(folder / name, filename, subfolder)
        return names

    names = result_of(begun(upload), is_interrupted)
    enter("validation")
    return renamed(graph, names, there)


def with_relative_names(api: ComfyApi, outcome: PromptOutcome) -> PromptOutcome:
    """``outcome``, where nodes that named files by full paths name them by their places in the server's folders.

    The server gives such files out, but tells nobody where its folders are. So it is asked which folders are in them.
    Names of files elsewhere stay as they are.
    """
    is_inside = functools.cache(api.is_inside)

    def relative(value: Any) -> Any:
        if not isinstance(value, Mapping) or "filename" not in value:
            return value
        place = _full_path(value)
        base = _folder_above(place, functools.partial(is_inside, _kind(value))) if place else None
        if not place or base is None:
            return value
        subfolder, filename = posixpath.split(posixpath.relpath(place, base))
        return {**value, "subfolder": subfolder, "filename": filename}

    return replace(outcome, outputs=with_entries(outcome.outputs, lambda value: [relative(value)]))


def fetch_outputs(
    api: ComfyApi, outcomes: Iterable[PromptOutcome], run: GraphRun, is_interrupted: Callable[[], bool]
) -> list[str]:
    """Fetch the files that nodes have named into the folder of ``run``. Returns a line for each file that failed.

    A file that the server does not have gets no line here, since ``answer/outputs.py`` reports it.

    Raises:
        JobInterrupted
    """
    enter("transfer")
    wanted: dict[Path, Mapping[str, Any]] = {}
    for entry in itertools.chain.from_iterable(file_entries(ui) for o in outcomes for ui in o.outputs.values()):
        target = _target(entry, run.workspace)
        if target is not None:
            wanted[target] = entry
    entries, lock = iter(wanted.items()), threading.Lock()

    def fetch() -> list[str]:
        lines: list[str] = []
        while True:
            with lock:
                taken = next(entries, None)
            if taken is None or is_interrupted():
                return lines
            line = _fetched(api, *taken)
            if line:
                lines.append(line)

    fetching = [begun(fetch) for _ in range(min(_FETCHES, len(wanted)))]
    return [run.public(line) for future in fetching for line in result_of(future, is_interrupted)]


def _fetched(api: ComfyApi, target: Path, entry: Mapping[str, Any]) -> str | None:
    try:
        api.fetch(entry, target)
        return None
    except (ServerUnreachable, ServerRefused) as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError:  # A name that no file can have.
        reason = "its name"
    with contextlib.suppress(OSError, ValueError):
        target.unlink()
    return f"{target.name[:200]} could not be fetched from ComfyUI ({reason})"


def _target(entry: Mapping[str, Any], workspace: Workspace) -> Path | None:
    """The file's path in the job's folder. None for a preview, and for a name that leads out of the folder."""
    kind, filename, subfolder = _kind(entry), entry["filename"], entry.get("subfolder") or ""
    if kind not in ("output", "input") or not isinstance(filename, str) or not isinstance(subfolder, str):
        return None
    parts = [*subfolder.split("/"), *filename.split("/")]
    if filename.startswith("/") or subfolder.startswith("/") or not parts[-1]:
        return None
    if ".." in parts or "\0" in "".join(parts):
        return None
    return (workspace.input if kind == "input" else workspace.output).joinpath(*filter(None, parts))


def _kind(entry: Mapping[str, Any]) -> Any:
    return entry.get("type") or "output"


def _full_path(entry: Mapping[str, Any]) -> str | None:
    """The file's path on the server, if the node gave a full one."""
    filename, subfolder = entry["filename"], entry.get("subfolder") or ""
    if not isinstance(filename, str) or not isinstance(subfolder, str) or _kind(entry) not in ("output", "input"):
        return None
    path = posixpath.normpath(posixpath.join(subfolder, filename))
    return path if path.startswith("/") and path.count("/") <= _MOST_FOLDERS else None


def _folder_above(path: str, is_inside: Callable[[str], bool]) -> str | None:
    """The uppermost folder above ``path`` that ``is_inside`` accepts."""
    folders = itertools.accumulate(posixpath.dirname(path).split("/"), lambda above, name: f"{above}/{name}")
    try:
        return next((folder for folder in folders if folder and is_inside(folder)), None)
    except (ServerRefused, ServerUnreachable):  # For example, for a name that no folder can have.
        return None
