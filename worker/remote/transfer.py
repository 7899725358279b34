"""Uploads a job's input files to a server, and fetches its output files."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from worker.engine.graph_run import GraphRun
from worker.engine.workspace import Workspace
from worker.protocol.prompt_outcome import PromptOutcome, file_entries
from worker.remote.api import ComfyApi
from worker.remote.http import ServerRefused, ServerUnreachable
from worker.remote.names import job_folder, renamed, upload_target
from worker.remote.waiting import begun, result_of

_FETCHES = 4


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
    there = job_folder(staged)

    def upload() -> dict[str, str]:
        names = {}
        for name in staged:
            subfolder, filename = upload_target(name, there)
            names[name] = api.upload(folder / name, filename, subfolder)
        return names

    return renamed(graph, result_of(begun(upload), is_interrupted), there)


def fetch_outputs(
    api: ComfyApi, outcomes: Iterable[PromptOutcome], run: GraphRun, is_interrupted: Callable[[], bool]
) -> list[str]:
    """Fetch the files that nodes have named into the folder of ``run``. Returns a line for each file that failed.

    A file that the server does not have gets no line here, since ``answer/outputs.py`` reports it.

    Raises:
        JobInterrupted
    """
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
    kind, filename, subfolder = entry.get("type") or "output", entry["filename"], entry.get("subfolder") or ""
    if kind not in ("output", "input") or not isinstance(filename, str) or not isinstance(subfolder, str):
        return None
    parts = [*subfolder.split("/"), *filename.split("/")]
    if filename.startswith("/") or subfolder.startswith("/") or not parts[-1]:
        return None
    if ".." in parts or "\0" in "".join(parts):
        return None
    return (workspace.input if kind == "input" else workspace.output).joinpath(*filter(None, parts))
