"""What brings one job's files to where its caller fetches them."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from worker.answer.result import Artifact


class UploadFailed(Exception):
    """A file could not be stored in the bucket. The text says why and holds no secret."""


class Uploader(Protocol):
    """Uploads the files of one job."""

    def begin(self, path: Path) -> None:
        """Begin with a file that a node has finished, while the graph still runs."""

    def prepare(self, artifact: Artifact) -> Future[str]:
        """See that ``artifact`` is uploaded. The future gives its URL, or raises UploadFailed."""

    def close(self) -> None:
        """Drop what has not begun. Called once, when the job is answered or stopped."""
