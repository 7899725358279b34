"""``Result``: the files, texts and errors of a run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.engine.graph_run import Status
from worker.engine.workspace import Workspace
from worker.errors import WorkerError
from worker.images.formats import PNG, ImageFormat
from worker.receipt.current import measuring
from worker.receipt.reports import Reports
from worker.redact import Sent

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Artifact:
    """One file that a node saved. The file lives as long as this object.

    Attributes:
        node_id: id of the workflow's node that saved the file.
        key: the file's key in the node's ui dict: ``images``, ``gifs``, ``audio``, ….
        filename: the file's name in ComfyUI, without its folder.
        subfolder: the file's folder, below the output folder.
        media_type: the value for ``Content-Type``.
        path: where the file is.
        is_named: whether a node has named it.
    """

    node_id: str
    key: str
    filename: str
    subfolder: str
    media_type: str
    path: Path
    _workspace: Workspace = field(repr=False)
    is_named: bool = True

    @property
    def is_input(self) -> bool:
        """Whether the file is in the job's input folder. A file in the output folder may have the same name."""
        return self.path.is_relative_to(self._workspace.input)

    @property
    def place(self) -> str:
        """The file's path among all of the job's files. Those of the input folder are below ``input/``."""
        inside = os.path.normpath(f"{self.subfolder}/{self.filename}".lstrip("/"))
        if not self.is_input:
            return inside
        folder = "input"
        while os.path.lexists(self._workspace.output / folder / inside):  # An output may have this path.
            folder += "_"
        return f"{folder}/{inside}"

    @property
    def size(self) -> int:
        """The file's bytes; 0 if it is not there any more."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            OSError: the file is not there any more, or cannot be read.
        """
        return self.path.read_bytes()


@dataclass(frozen=True)
class Text:
    """A text or a number that a node showed. ``key``: its key in the node's ui dict."""

    node_id: str
    text: str
    key: str = "text"


@dataclass(frozen=True)
class Result:
    """The outcome of one workflow.

    Attributes:
        status: ``success``; ``error`` when a node raised; ``interrupted``. All three have what was finished before.
        artifacts: every file that was saved, in the order of the workflow's nodes.
        texts: every text that a node showed.
        errors: one readable line for each thing that went wrong.
        error: the worker's error that ended the workflow: JobTimedOut, JobStalled, JobTooLarge, OutOfMemory,
            DeviceFailed; or None.
        seconds: how long each part took: ``stage``, ``run`` (including the wait for earlier runs), ``collect``.
        image_format: the format that the job wants its images in.
        warnings: lines that may help, and change nothing else.
        ui: the ui dict of each node that has one, by node id, in types of JSON; empty unless the job asks for it.
        sent: what the caller has written.
        metrics: where the time went, as in an answer; empty with ``REPORT_METRICS=off``.

    The files live as long as this object or one of its artifacts, or until ``close``.
    """

    status: Status
    artifacts: tuple[Artifact, ...]
    texts: tuple[Text, ...]
    errors: tuple[str, ...]
    seconds: Mapping[str, float]
    _workspace: Workspace = field(repr=False)
    error: WorkerError | None = None
    image_format: ImageFormat = PNG
    warnings: tuple[str, ...] = ()
    ui: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sent: Sent = field(default_factory=Sent, repr=False)
    metrics: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the workflow ran to its end and nothing went wrong."""
        return self.status == "success" and not self.errors

    @cached_property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(artifact.size for artifact in self.artifacts)

    @cached_property
    def images(self) -> list[Image]:
        """The saved images, decoded, in order. Other files, such as videos, are in ``files``."""
        return [image for image in self._decoded if image is not None]

    @property
    def files(self) -> list[Artifact]:
        """Every saved file that is no image, or that Pillow cannot decode. ``artifact.read()`` returns its bytes."""
        return [artifact for artifact, image in zip(self.artifacts, self._decoded, strict=True) if image is None]

    @cached_property
    def _decoded(self) -> list[Image | None]:
        return [_open(artifact) if artifact.media_type.startswith("image/") else None for artifact in self.artifacts]

    @property
    def text(self) -> list[str]:
        """The texts that nodes showed."""
        return [text.text for text in self.texts]

    def save(self, folder: str | Path) -> list[Path]:
        """Copy every file into ``folder``, which is made if needed. An existing file is never overwritten.

        Returns:
            The path of each copy, in the order of ``artifacts``.
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

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What IPython and notebooks show."""
        from worker.answer.rich_display import mime_bundle

        return mime_bundle(self)


@contextlib.contextmanager
def measured_run(reports: Reports) -> Iterator[Callable[[Result], Result]]:
    """Within this context, a run is measured. Gives a function that adds ``metrics`` to its result."""
    receipt = reports.begin()

    def measured(result: Result) -> Result:
        if receipt is None:
            return result
        receipt.counts.bytes_out = result.size
        receipt.end()
        return replace(result, metrics=reports.for_caller(receipt))

    with measuring(receipt):
        yield measured


def _open(artifact: Artifact) -> Image | None:
    """The decoded image; None if Pillow cannot decode it, such as a drawing in SVG."""
    from PIL import Image

    try:
        image = Image.open(artifact.path)
        image.load()
    except Exception:  # noqa: BLE001 - Pillow raises many kinds. The file is there, whatever it is.
        return None
    return image


def _free_name(path: Path) -> Path:
    """``path``, or the first of ``path-2``, ``path-3``, … that does not exist."""
    candidate, count = path, 1
    while candidate.exists():
        count += 1
        candidate = path.with_stem(f"{path.stem}-{count}")
    return candidate
