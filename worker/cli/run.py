"""``python -m worker run``: runs one workflow from a file, and writes the files that it saves."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from worker.answer.result import Result
from worker.cli.exit_code import ExitCode
from worker.cli.metrics_table import print_metrics
from worker.errors import InputsRefused, InvalidJob, JobInterrupted, StartError, WorkerError, WorkflowRejected
from worker.job.from_python import make_job
from worker.job.job import Job
from worker.progress.terminal import TerminalProgress
from worker.settings import Settings, take_settings
from worker.worker import Worker
from worker.workflows.changes import check_nodes, typed_change
from worker.workflows.folder import WorkflowFolder


def run(options: argparse.Namespace) -> int:
    """Run one workflow and write its files. Returns the exit code.

    Raises:
        InvalidJob, StartError, KeyboardInterrupt: ``worker.__main__`` prints them.
    """
    settings = _settings(options)
    job = _job(options, WorkflowFolder(settings))
    _check_out(options.out)
    # Handle SIGTERM like Ctrl-C, so that a workflow on a server elsewhere is stopped as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Keep this stream: ComfyUI replaces sys.stderr while it starts.
    console = Console(file=sys.stderr)
    # Standard output is for the result. What nodes print goes to standard error.
    with contextlib.redirect_stdout(sys.stderr), TerminalProgress(console) as progress:
        start = time.perf_counter()
        worker = Worker(settings, say=progress.say)
        worker.models_ahead.expect(job.workflow)
        with worker:
            started = time.perf_counter() - start
            try:
                result = worker.run_job(job, progress)
            except JobInterrupted:
                raise KeyboardInterrupt from None
            except StartError:
                raise
            except WorkerError as error:
                return _print_error(error, options.json)
        paths = result.save(options.out)
    seconds = {"start": started, **result.seconds}
    if options.json:
        print(json.dumps(_as_json(result, paths, seconds), indent=2))
    else:
        _print_result(result, paths, seconds)
    if options.metrics:
        print_metrics(result.metrics, console)
    worked = result.status == "success" and (paths or result.texts or not result.errors)
    return ExitCode.WORKED if worked else ExitCode.FAILED


def _settings(options: argparse.Namespace) -> Settings:
    settings = take_settings().quiet()
    return settings.model_copy(update={"report_metrics": "full"}) if options.metrics else settings


def _job(options: argparse.Namespace, folder: WorkflowFolder) -> Job:
    images = dict(_image(text) for text in options.image)
    job = folder.resolved(make_job(options.file, images))
    changes = dict(map(typed_change, options.changes))
    if job.editor is None:  # What can be refused now is refused before ComfyUI starts.
        check_nodes(job.workflow, (changes,))
    # Whoever runs this has written the workflow, so that messages may quote all of it.
    return replace(job, changes=(*job.changes, changes) if changes else job.changes, written=None)


def _check_out(folder: Path) -> None:
    """Check that files can be written into ``folder``, before the workflow runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidJob(f"--out {folder} cannot be written ({error.strerror})") from None


def _image(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if separator and not Path(text).exists():
        return name, Path(path)
    return Path(text).name, Path(text)


def _print_error(error: WorkerError, as_json: bool) -> int:
    if as_json:
        print(json.dumps(error.answer(), indent=2), file=sys.__stdout__)
    print(f"worker: {error}", file=sys.stderr)
    for detail in error.details if isinstance(error, InputsRefused) else ():
        print(f"  {detail}", file=sys.stderr)
    return ExitCode.USAGE if isinstance(error, InputsRefused | InvalidJob | WorkflowRejected) else ExitCode.FAILED


def _as_json(result: Result, paths: list[Path], seconds: Mapping[str, float]) -> dict[str, Any]:
    files = [
        {
            "filename": artifact.filename,
            "path": str(path),
            "node_id": artifact.node_id,
            "media_type": artifact.media_type,
        }
        for artifact, path in zip(result.artifacts, paths, strict=True)
    ]
    return {
        "status": result.status,
        "files": files,
        "text": [
            {"node_id": text.node_id, "text": text.text} | ({} if text.key == "text" else {"key": text.key})
            for text in result.texts
        ],
        "ui": result.ui,
        "errors": list(result.errors),
        "warnings": list(result.warnings),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        **({"metrics": result.metrics} if result.metrics else {}),
    }


def _print_result(result: Result, paths: list[Path], seconds: Mapping[str, float]) -> None:
    for path in paths:
        print(path)
    for text in result.texts:
        print(f"node {text.node_id}{'' if text.key == 'text' else f', {text.key}'}: {text.text}")
    for error in result.errors:
        print(f"worker: {error}", file=sys.stderr)
    for warning in result.warnings:
        print(f"worker: warning: {warning}", file=sys.stderr)
    if not paths and not result.texts and not result.errors:
        print("worker: the workflow saved nothing", file=sys.stderr)
    print("  ".join(f"{name} {value:.2f} s" for name, value in seconds.items()), file=sys.stderr)
