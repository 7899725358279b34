"""``Uploader``: the interface of classes that upload a job's files."""

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
        """Begin to upload a file that a node has finished, while the graph still runs."""

    def prepare(self, artifact: Artifact) -> Future[str]:
        """Upload ``artifact``, unless that has begun already. The future returns its URL, or raises UploadFailed."""

    def close(self) -> None:
        """Drop uploads that have not begun. Called once, when the job is answered or stopped."""
