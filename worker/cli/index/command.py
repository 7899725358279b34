"""``python -m worker index``: imports every node pack twice, and writes down what it found."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.cli.exit_code import ExitCode
from worker.embedded.deferred.packs.index import PackEntry, keep_index
from worker.embedded.deferred.packs.observed.backwards import look_backwards
from worker.embedded.deferred.packs.observed.observer import PackObserver
from worker.embedded.deferred.packs.places import TRIAL, index_folders
from worker.embedded.start.boot import boot
from worker.engine.workspace import process_state
from worker.errors import StartError
from worker.events import Notice
from worker.settings import Settings, take_settings

_RESULT = "COMFY_WORKER_INDEX_RESULT"


def index(options: argparse.Namespace) -> int:
    """Make the index. The first process imports the packs in ComfyUI's order, a second one backwards, as jobs may.

    Raises:
        StartError: a setting cannot be read, ComfyUI cannot start, or its imports are not deferred.
    """
    settings = take_settings().quiet()
    if settings.comfy_backend == "websocket":
        raise StartError(
            "COMFY_BACKEND=websocket: a server elsewhere has its own node packs. Unset it to index those here"
        )
    if options.backwards:
        return _backwards(settings)
    console = Console(file=sys.stderr if options.json else sys.stdout, highlight=False, soft_wrap=True)
    observer = PackObserver()

    def say(notice: Notice) -> None:
        console.print(str(notice), style="dim", markup=False)

    runtime = boot(settings.model_copy(update={"lazy_custom_nodes": False}), process_state(settings.worker_state_dir),
                   say, observer)  # fmt: skip
    if not observer.tree_state:
        raise StartError("Node packs can wait only where ComfyUI's own imports do: set DEFER_IMPORTS=auto")
    entries, folders = observer.finish(), index_folders(runtime.launch)
    if any(not entry.reasons for entry in entries.values()):
        say(Notice("importing the packs once more, backwards"))
        entries = _with_reasons(entries, _from_second_process(observer.tree_state, entries))
    place = keep_index(folders, observer.tree_state, entries)
    if options.json:
        print(json.dumps(_as_json(entries)))
    else:
        console.print(_table(entries))
    if place is None:
        print("worker: the index cannot be written to " + " or ".join(map(str, folders)), file=sys.stderr)
        return ExitCode.FAILED
    console.print(f"Written to {place}", markup=False)
    return ExitCode.WORKED


def _backwards(settings: Settings) -> int:
    lazy, notices = settings.model_copy(update={"lazy_custom_nodes": True}), list[str]()
    runtime = boot(lazy, process_state(settings.worker_state_dir), lambda notice: notices.append(str(notice)))
    found = {"stale": [text for text in notices if "LAZY_CUSTOM_NODES" in text], "reasons": look_backwards(runtime)}
    Path(os.environ[_RESULT]).write_text(json.dumps(found), "utf-8")
    return ExitCode.WORKED


def _from_second_process(tree_state: str, entries: Mapping[str, PackEntry]) -> Mapping[str, list[str]]:
    """What the second process found: further reasons, by the pack's path.

    Raises:
        StartError: it did not come to its end.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        keep_index([Path(folder)], tree_state, entries)
        # Its own state folder: this process has the other one.
        environment = os.environ | {_RESULT: str(result), TRIAL: folder, "WORKER_STATE_DIR": f"{folder}/state"}
        done = subprocess.run(
            [sys.executable, "-m", "worker", "index", "--backwards"],
            env=environment, check=False, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        if not result.is_file():
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            raise StartError(f"The second import of the packs ended with {done.returncode}: {lines[-1]}")
        found: dict[str, Any] = json.loads(result.read_text("utf-8"))
    if found["stale"]:
        raise StartError(f"The packs changed while they were looked at: {found['stale'][0]}")
    reasons: dict[str, list[str]] = found["reasons"]
    return reasons


def _with_reasons(entries: Mapping[str, PackEntry], reasons: Mapping[str, list[str]]) -> dict[str, PackEntry]:
    return {path: replace(entry, reasons=[*entry.reasons, *reasons.get(path, [])]) for path, entry in entries.items()}


def _as_json(entries: Mapping[str, PackEntry]) -> list[dict[str, Any]]:
    return [
        {"pack": Path(path).name, "path": path, "waits": not entry.reasons, "seconds": entry.seconds,
         "classes": entry.names, "reasons": entry.reasons}
        for path, entry in entries.items()
    ]  # fmt: skip


def _table(entries: Mapping[str, PackEntry]) -> Table:
    table = Table("Node pack", "Import", "Classes", title="Custom nodes", title_justify="left", show_edge=False)
    table.add_column("Is imported", overflow="fold")
    for path, entry in entries.items():
        when = "at the start: " + "; ".join(entry.reasons) if entry.reasons else "when a job needs it"
        table.add_row(escape(Path(path).name), f"{entry.seconds:.2f} s", str(len(entry.names)), escape(when))
    if not entries:
        table.add_row("(none)", "", "", "")
    return table
