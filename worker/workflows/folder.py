"""Finds and reads the workflow files of the operator. A name is a file's name without its ending, and never a path.

A name is looked for among the files that there are, so what a caller writes never becomes part of a path. Files are
read once, and again when they have changed.
"""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from worker.errors import InvalidJob
from worker.job.from_python import load_request, request_input
from worker.job.job import Job
from worker.job.parse import parse_job
from worker.job.shown import quoted
from worker.settings import Settings
from worker.workflows.near import near_names

ENDINGS = frozenset({
    ".json", ".png", ".webp", ".jpg", ".jpeg", ".flac", ".mp3", ".ogg", ".opus", ".mp4", ".m4a", ".mov", ".mkv",
    ".webm",
})  # fmt: skip
_ON_VOLUME = "workflows"
_SHOWN = 20
_SETTLED_NS = 2_000_000_000
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class StoredWorkflow:
    """A workflow file. Either ``job``, what it holds, or ``problem``, why it cannot run, is not None."""

    name: str
    path: Path
    job: Job | None
    problem: str | None = None


class WorkflowFolder:
    """The workflow files in ``WORKFLOWS_DIR`` and in ``workflows/`` of the network volume. The first one wins.

    It may be used on several threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._given, self._only = settings.workflows_dir, settings.workflows_only
        folders = (self._given, settings.network_volume_path / _ON_VOLUME)
        self._folders = tuple(folder for folder in folders if folder is not None)
        self._listed: dict[Path, tuple[int, dict[str, list[Path]]]] = {}
        self._read: dict[Path, tuple[_Stamp, StoredWorkflow]] = {}

    def names(self) -> list[str]:
        """The names of all workflows, sorted; those that cannot run among them."""
        return sorted({name for folder in self._folders for name in self._files(folder)})

    def all(self) -> Iterator[StoredWorkflow]:
        """Every workflow, read."""
        for name in self.names():
            if (found := self.find(name)) is not None:
                yield found

    def remarks(self) -> Iterator[str]:
        """A line for each thing that an operator has probably not meant, but for damaged files."""
        if self._given is not None and not self._given.is_dir():
            yield f"WORKFLOWS_DIR: there is no folder {self._given}"
        if self._only and not self.names():
            yield "WORKFLOWS_ONLY=true, and there is no workflow: every request will be refused"

    def find(self, name: str) -> StoredWorkflow | None:
        """The workflow of this name; None if there is none."""
        plain = unicodedata.normalize("NFC", name)
        for folder in self._folders:
            paths = self._files(folder).get(plain)
            if paths is not None:
                return self._stored(plain, paths)
        return None

    def get(self, name: str) -> StoredWorkflow:
        """The workflow of this name.

        Raises:
            InvalidJob: there is none. The text says which there are.
        """
        found = self.find(name)
        if found is None:
            raise InvalidJob(self._unknown(name))
        return found

    def resolved(self, job: Job) -> Job:
        """``job`` with the workflow that it names. What the file says beside its workflow is the default of the job.

        Raises:
            InvalidJob: there is no such workflow, or its file cannot be used.
        """
        if job.name is None:
            return job
        found = self.get(job.name)
        if found.job is None:
            raise InvalidJob(f"The workflow {quoted(found.name)} cannot run: {found.problem}")
        return _merged(found.job, job)

    def _unknown(self, name: str) -> str:
        if name.lstrip().startswith("{"):
            return "'workflow' is a text that looks like JSON: send the graph itself as an object, and not as a text"
        names = self.names()
        text = f"There is no workflow {quoted(name)} here"
        if "/" in name or "\\" in name:
            text += ": a name is no path"
        near = near_names(os.path.splitext(name)[0], names)  # noqa: PTH122 - it is no path.
        if near:
            return f"{text}; is {near} meant?"
        if not names:
            return f"{text}: this worker has none. 'workflow' takes a graph, or the name of a file in WORKFLOWS_DIR"
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"{text}; there are {', '.join(map(quoted, names[:_SHOWN]))}{more}"

    def _files(self, folder: Path) -> Mapping[str, list[Path]]:
        """The files in ``folder`` by the name of their workflow. It is listed again when it has changed."""
        try:
            changed = folder.stat().st_mtime_ns
            listed = self._listed.get(folder)
            if listed is not None and listed[0] == changed:
                return listed[1]
            files: dict[str, list[Path]] = {}
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    name = _name_of(entry)
                    if name is not None:
                        files.setdefault(name, []).append(Path(entry.path))
        except OSError:  # There is no such folder, or no longer.
            return {}
        if _is_settled(changed):
            self._listed[folder] = changed, files
        return files

    def _stored(self, name: str, paths: list[Path]) -> StoredWorkflow | None:
        if len(paths) > 1:
            files = " and ".join(path.name for path in paths)
            return StoredWorkflow(name, paths[0], None, f"{files} have the same name: keep one of them")
        path = paths[0]
        try:
            status = path.stat()
        except OSError as error:
            return StoredWorkflow(name, path, None, f"its file cannot be read ({error.strerror})")
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        kept = self._read.get(path)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        stored = _read(name, path)
        if _is_settled(status.st_mtime_ns):
            self._read[path] = stamp, stored
        return stored


def _is_settled(changed_ns: int) -> bool:
    """Whether a change after this one would have another time. The clocks of file systems tick slowly."""
    return time.time_ns() - changed_ns > _SETTLED_NS


def _name_of(entry: os.DirEntry[str]) -> str | None:
    """The name of the workflow in a file; None if it holds none, by its name."""
    name, ending = os.path.splitext(entry.name)  # noqa: PTH122 - an entry has no Path.
    if entry.name.startswith(".") or ending.lower() not in ENDINGS:
        return None
    try:
        name.encode()  # No answer can hold a name that is no text.
        if not entry.is_file():
            return None
    except (UnicodeEncodeError, OSError):
        return None
    return unicodedata.normalize("NFC", name)


def _read(name: str, path: Path) -> StoredWorkflow:
    try:
        job = parse_job({"input": request_input(load_request(path))})
    except InvalidJob as error:
        return StoredWorkflow(name, path, None, _without(path, str(error)))
    if job.name is not None:
        return StoredWorkflow(name, path, None, f"its file only names another workflow, {quoted(job.name)}")
    return StoredWorkflow(name, path, replace(job, warnings=()))


def _without(path: Path, text: str) -> str:
    """``text``, which may begin with the path of the file that it is about."""
    return f"its file {text.removeprefix(f'{path} ')}" if text.startswith(f"{path} ") else text


def _merged(stored: Job, job: Job) -> Job:
    """``job`` with the workflow of ``stored``, and with what ``stored`` says beside it where ``job`` says nothing."""
    own = {
        field: getattr(stored, field)
        for field in ("api_key", "output_format", "output_quality", "timeout_s", "save_metadata", "report_ui")
        if getattr(job, field) is None
    }
    return replace(
        job,
        **own,
        workflow=stored.workflow,
        editor=stored.editor,
        name=None,
        images=tuple({image.name: image for image in (*stored.images, *job.images)}.values()),
        extra_pnginfo={**(stored.extra_pnginfo or {}), **(job.extra_pnginfo or {})} or None,
        changes=(*stored.changes, *job.changes),
        models=(*stored.models, *job.models),
        written=(*job.changes, job.extra_pnginfo),
    )
