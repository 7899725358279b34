"""What a run gives to Python code."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from worker.answer.outputs import Artifact, Text
from worker.engine.graph_run import Status
from worker.engine.workspace import Workspace
from worker.errors import WorkerError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Result:
    """The outcome of one workflow.

    Attributes:
        status: ``success``; ``error`` when a node raised; ``interrupted``. What was finished before is there in each.
        artifacts: every file that was saved, in the order of the workflow's nodes.
        texts: every text that a node showed.
        errors: one readable line for each thing that went wrong.
        error: what ended it, where that was no node's own failure: JobTimedOut, JobStalled, OutOfMemory, DeviceFailed.
        seconds: duration of each part: ``stage``, ``run`` (with the wait for earlier runs), ``collect``.

    The files live as long as this object or one of its artifacts, or until ``close``.
    """

    status: Status
    artifacts: tuple[Artifact, ...]
    texts: tuple[Text, ...]
    errors: tuple[str, ...]
    seconds: Mapping[str, float]
    _workspace: Workspace = field(repr=False)
    error: WorkerError | None = None

    @property
    def ok(self) -> bool:
        """Whether the workflow ran to its end with nothing to complain about."""
        return self.status == "success" and not self.errors

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(artifact.path.stat().st_size for artifact in self.artifacts)

    @cached_property
    def images(self) -> list[Image]:
        """The saved images, decoded, in order. Videos and all else are in ``files``."""
        return [_open(artifact) for artifact in self.artifacts if artifact.media_type.startswith("image/")]

    @property
    def files(self) -> list[Artifact]:
        """Every saved file that is no image; ``artifact.read()`` gives its bytes."""
        return [artifact for artifact in self.artifacts if not artifact.media_type.startswith("image/")]

    @property
    def text(self) -> list[str]:
        """The texts that nodes showed."""
        return [text.text for text in self.texts]

    def save(self, folder: str | Path) -> list[Path]:
        """Copy every file into ``folder``, which is made if need be; an existing file gets a new name beside it.

        Returns:
            Where each artifact is now, in order.
        """
        folder = Path(folder)
        paths = []
        for artifact in self.artifacts:
            target = _free_name(folder / artifact.subfolder / artifact.path.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifact.path, target)
            paths.append(target)
        return paths

    def close(self) -> None:
        """Remove the files now."""
        self._workspace.close()


def _open(artifact: Artifact) -> Image:
    from PIL import Image

    image = Image.open(artifact.path)
    image.load()
    return image


def _free_name(path: Path) -> Path:
    """``path``, or ``path-2``, ``path-3`` and so on: what is there is never overwritten."""
    candidate, count = path, 1
    while candidate.exists():
        count += 1
        candidate = path.with_stem(f"{path.stem}-{count}")
    return candidate
