"""The model files that were fetched for one job. Only this job sees them, by names that no other file has."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.models.readahead.names import NamedModel, Workflow
from worker.models.readahead.read_ahead import Models

PREFIX = "fetched-"
_FOLDER = re.compile(rf"{PREFIX}[0-9a-f]{{32}}/")


def own_name(key: str, name: str) -> str:
    """The name of a fetched file in the job's graph.

    It differs for each address and hash, so that nothing that goes by names takes one file for another: ComfyUI's cache
    of results, and what packs keep.

    Args:
        key: 32 hexadecimal digits, different for each address and hash.
        name: what the caller calls the file.
    """
    return f"{PREFIX}{key}/{callers_names(name)}"


def callers_names(text: str) -> str:
    """``text`` with the names that the caller has used."""
    return _FOLDER.sub("", text)


def is_fetched(name: str) -> bool:
    """Whether this is the name of a fetched file."""
    return name.startswith(PREFIX)


@dataclass(frozen=True)
class FetchedModel:
    """A model file that was fetched.

    ``folder``: ComfyUI's model folder in which the job sees it. ``name``: its own name there. ``path``: the file.
    """

    folder: str
    name: str
    path: Path


class FetchedModels:
    """The files of one job. They stay on the disk until ``release``, or until nothing refers to this object any more.

    Args:
        files: the files.
        release: lets other workers remove the files, if they need the room.
        count: bytes that were fetched for the job.
    """

    def __init__(
        self, files: Sequence[FetchedModel] = (), release: Callable[[], object] = lambda: None, count: int = 0
    ) -> None:
        self.files = tuple(files)
        self.count = count
        self._release = weakref.finalize(self, release)

    def release(self) -> None:
        """The job has ended. A second call does nothing."""
        self._release()

    def found_by(self, models: Models) -> Models:
        """``models``, which finds these files as well."""
        return _WithFetched(self.files, models) if self.files else models


class _WithFetched:
    """Finds fetched files, which ComfyUI sees only while their job has its turn."""

    def __init__(self, files: Sequence[FetchedModel], others: Models) -> None:
        self._paths = {file.name: file.path for file in files}
        self._others = others

    def outputs(self, workflow: Workflow) -> list[str]:
        return self._others.outputs(workflow)

    def find(self, named: NamedModel) -> Path | None:
        return self._paths.get(named.name) or self._others.find(named)


NO_MODELS = FetchedModels()
