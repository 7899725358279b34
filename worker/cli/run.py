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
from pathlib import Path
from typing import Any

from rich.console import Console

from worker.answer.result import Result
from worker.cli.exit_code import ExitCode
from worker.cli.metrics_table import print_metrics
from worker.errors import InputsRefused, InvalidJob, JobInterrupted, StartError, WorkerError, WorkflowRejected
from worker.job.from_python import make_job
from worker.job.job import Job, Workflow
from worker.progress.terminal import TerminalProgress
from worker.settings import Settings, take_settings
from worker.worker import Worker


def run(options: argparse.Namespace) -> int:
    """Run one workflow and write its files. Returns the exit code.

    Raises:
        InvalidJob, StartError, KeyboardInterrupt: ``worker.__main__`` prints them.
    """
    job = _job(options)
    _check_out(options.out)
    # Handle SIGTERM like Ctrl-C, so that a workflow on a server elsewhere is stopped as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Keep this stream: ComfyUI replaces sys.stderr while it starts.
    console = Console(file=sys.stderr)
    # Standard output is for the result. What nodes print goes to standard error.
    with contextlib.redirect_stdout(sys.stderr), TerminalProgress(console) as progress:
        start = time.perf_counter()
        worker = Worker(_settings(options), say=progress.say)
        worker.models_ahead.expect(job.workflow)
        with worker:
            started = time.perf_counter() - start
            try:
                result = worker.run_job(_changed(worker.converted(job), options.changes), progress)
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


def _job(options: argparse.Namespace) -> Job:
    images = dict(_image(text) for text in options.image)
    job = make_job(options.file, images)
    # What can be refused now is refused before ComfyUI starts.
    return job if job.editor is not None else _changed(job, options.changes)


def _changed(job: Job, changes: list[str]) -> Job:
    """``job`` with the values of ``--set``. To apply them twice changes nothing more."""
    for text in changes:
        _change(job.workflow, text)
    return job


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


def _change(workflow: Workflow, text: str) -> None:
    """Apply one ``NODE.INPUT=VALUE`` to ``workflow``."""
    target, separator, value = text.partition("=")
    node_name, dot, input_name = target.rpartition(".")
    if not (separator and dot and node_name and input_name):
        raise InvalidJob(f"--set {text!r}: it takes NODE.INPUT=VALUE, such as 3.seed=42")
    node = workflow[_node_id(workflow, node_name)]
    if input_name not in node["inputs"]:
        known = ", ".join(node["inputs"]) or "none"
        raise InvalidJob(
            f"--set {text!r}: node {node_name} ({node['class_type']}) has no input {input_name!r}; it has {known}"
        )
    node["inputs"][input_name] = _value(value)


def _node_id(workflow: Workflow, name: str) -> str:
    if name in workflow:
        return name
    titled = [node_id for node_id, node in workflow.items() if _title(node) == name]
    if len(titled) == 1:
        return titled[0]
    if titled:
        raise InvalidJob(f"--set: {len(titled)} nodes have the title {name!r}; use the id: {', '.join(titled)}")
    nodes = ", ".join(f"{node_id} ({node['class_type']})" for node_id, node in workflow.items())
    raise InvalidJob(f"--set: there is no node {name!r}; the workflow has {nodes}")


def _title(node: Mapping[str, Any]) -> object:
    meta = node.get("_meta")
    return meta.get("title") if isinstance(meta, dict) else None


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


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
