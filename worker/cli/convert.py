"""``python -m worker convert``: writes the API graphs of workflows that ComfyUI's editor has saved."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console

from worker.cli.exit_code import ExitCode
from worker.errors import InvalidJob, StartError, WorkerError
from worker.job.from_python import make_job
from worker.job.job import Job
from worker.settings import Settings, take_settings
from worker.worker import Worker
from worker.workflows.folder import WorkflowFolder

_Read = dict[Path, Job | WorkerError]


def convert(options: argparse.Namespace) -> int:
    """Print the API graph of one file, or write those of several into a folder. Returns the exit code.

    Raises:
        InvalidJob, StartError, OSError: ``worker.__main__`` prints them.
    """
    if options.out is None and len(options.files) > 1:
        raise InvalidJob("convert prints the graph of one file; for several, --out names the folder to write them to")
    settings = take_settings().quiet()
    folder = WorkflowFolder(settings)
    read = _converted({path: _job(path, folder) for path in options.files}, settings)
    for path, result in read.items():
        if isinstance(result, WorkerError):
            text = str(result)  # It begins with the path where the file could not be read.
            print(f"worker: {text if text.startswith(str(path)) else f'{path}: {text}'}", file=sys.stderr)
    graphs = {path: result for path, result in read.items() if isinstance(result, Job)}
    if options.out is None:
        for job in graphs.values():
            print(_text(job))
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        for path, target in _targets(options.files, options.out):
            if path in graphs:
                target.write_text(_text(graphs[path]) + "\n", encoding="utf-8", errors="backslashreplace")
                print(target)
    return ExitCode.WORKED if len(graphs) == len(read) else ExitCode.FAILED


def _job(path: Path, folder: WorkflowFolder) -> Job | WorkerError:
    try:
        return folder.resolved(make_job(path))
    except InvalidJob as error:
        return error


def _converted(read: _Read, settings: Settings) -> _Read:
    """The jobs with API graphs, or with the reasons why there are none. ComfyUI is started if one needs it."""
    if not any(isinstance(job, Job) and not job.is_ready for job in read.values()):
        return read
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    with (
        contextlib.redirect_stdout(sys.stderr),  # Standard output is for graphs. What nodes print goes elsewhere.
        Worker(settings, say=lambda notice: console.print(str(notice), style="dim", markup=False)) as worker,
    ):
        return {path: _graph(worker, job) for path, job in read.items()}


def _graph(worker: Worker, job: Job | WorkerError) -> Job | WorkerError:
    if isinstance(job, WorkerError):
        return job
    try:
        return worker.converted(job)
    except StartError:
        raise
    except WorkerError as error:
        return error


def _text(job: Job) -> str:
    return json.dumps(job.workflow, indent=2, ensure_ascii=False)


def _targets(paths: Iterable[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """The file that each graph is written to. Two files of one name get different ones.

    Raises:
        InvalidJob: a graph would be written over the file that it was made of.
    """
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name)
        target = out / f"{name}.json"
        if target.exists() and any(given.exists() and target.samefile(given) for given in paths):
            raise InvalidJob(f"--out {out}: {target} would be overwritten, and is one of the files to convert")
        yield path, target
