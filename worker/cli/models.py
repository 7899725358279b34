"""``python -m worker models``: lists the model files that a workflow names."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from worker.cli.exit_code import ExitCode
from worker.embedded.runtime import Runtime
from worker.errors import InvalidJob, StartError, WorkflowRejected
from worker.job.from_python import make_job
from worker.job.job import Job, Workflow
from worker.models.damage import damage, size_text
from worker.models.references import ModelReference, files_by_stem, near_misses, places_for, workflow_models
from worker.protocol.missing_classes import why_not_there
from worker.protocol.origins import Origins
from worker.settings import take_settings
from worker.worker import Worker
from worker.workflows.folder import WorkflowFolder


def models(options: argparse.Namespace) -> int:
    """Print the model files of a workflow. The exit code says whether all of them exist and look usable.

    Raises:
        InvalidJob, StartError: ``worker.__main__`` prints them.
    """
    settings = take_settings().quiet()
    job = WorkflowFolder(settings).resolved(make_job(options.file))
    if settings.comfy_backend == "websocket":
        raise StartError("models looks at files of this machine: with COMFY_BACKEND=websocket, run it at the server")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Worker(settings, say=lambda notice: console.print(str(notice), style="dim", markup=False)) as worker:
        runtime = worker.embedded_runtime()
        workflow = _workflow(worker, job)
        references = workflow_models(workflow, runtime)
        missing = any(reference.path is None for reference in references)
        files = files_by_stem(runtime, runtime.volume) if missing else {}
        origins = Origins((job.extra_pnginfo or {}).get("workflow"), [asdict(model) for model in job.models])
        entries = [_entry(reference, runtime, files, origins) for reference in references]
        classes = sorted({node["class_type"] for node in workflow.values()})
        unknown = {name: reason for name in classes if (reason := why_not_there(name, runtime))}
    for name, reason in unknown.items():
        console.print(f"warning: {name}: {reason}; only file names in its inputs are known", markup=False)
    if options.json:
        print(json.dumps([entry.as_json() for entry in entries], indent=2))
    else:
        _print(entries)
    return ExitCode.FAILED if any(entry.problem for entry in entries) else ExitCode.WORKED


def _workflow(worker: Worker, job: Job) -> Workflow:
    try:
        return worker.converted(job).workflow
    except WorkflowRejected as error:
        raise InvalidJob(str(error)) from None


@dataclass(frozen=True)
class _Entry:
    """A model file that the workflow names.

    ``places``: the folders where it belongs. ``problem``: what is wrong with it, or None. ``hints``: lines about files
    that may be meant instead.
    """

    reference: ModelReference
    places: tuple[Path, ...]
    problem: str | None
    hints: list[str]

    def as_json(self) -> dict[str, Any]:
        reference = self.reference
        return {
            "node_id": reference.node_id,
            "class_type": reference.class_type,
            "input": reference.input_name,
            "name": reference.name,
            "folder": reference.folder,
            "path": str(reference.path) if reference.path else None,
            "size": reference.size,
            "looked_in": [str(place) for place in self.places],
            "problem": self.problem,
            "hints": self.hints,
        }


def _entry(reference: ModelReference, runtime: Runtime, files: Mapping[str, list[Path]], origins: Origins) -> _Entry:
    places = places_for(reference, runtime)
    if reference.path is not None:
        return _Entry(reference, places, damage(reference.path), [])
    hints = near_misses(reference, runtime, runtime.volume, files)
    if origin := origins.of_model(reference.name):
        hints.append(f"{origin}; 'python -m worker prepare' fetches it")
    return _Entry(reference, places, "missing", hints)


def _print(entries: list[_Entry]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if not entries:
        console.print("The workflow names no model file.")
        return
    for entry in entries:
        reference = entry.reference
        size = size_text(reference.size) if reference.size is not None else "missing"
        style = "red" if entry.problem else "green"
        node = f"node {reference.node_id} ({reference.class_type}) {reference.input_name}"
        console.print(f"[{style}]{size:>10}[/]  {escape(_plain(reference.name))}  [dim]{escape(_plain(node))}[/]")
        for line in _remarks(entry):
            console.print(" " * 12 + _plain(line), markup=False)
    files = {entry.reference.path: entry.reference.size or 0 for entry in entries if entry.reference.path}
    bad = sum(entry.problem is not None for entry in entries)
    total = f"{len(files)} file(s) of {len(entries)}, {size_text(sum(files.values()))}"
    console.print(total + (f"; {bad} missing or damaged" if bad else ""))


def _plain(text: str) -> str:
    """``text`` with its control characters escaped, since they could change the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _remarks(entry: _Entry) -> list[str]:
    if entry.reference.path is not None:
        return [str(entry.reference.path), *([entry.problem] if entry.problem else [])]
    places = " or ".join(map(str, entry.places)) or "a folder that only the node knows"
    return [f"put it into {places}", *entry.hints]
