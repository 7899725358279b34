"""What every backend takes and gives: a ``GraphRun``, a ``RunResult``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from worker.engine.workspace import Workspace
from worker.errors import WorkerError
from worker.events import Listener
from worker.images.formats import PNG, ImageFormat
from worker.job.job import Workflow

Status = Literal["success", "error", "interrupted"]


@dataclass(frozen=True, eq=False)
class GraphRun:
    """One graph to run.

    ``workspace`` holds its input files and gets its output files. ``staged``: content hash of each input file by name.
    ``image_format``: of what SaveImage saves. ``on_file`` is told of each output file that is complete, on any thread,
    while the graph still runs. ``timeout_s``: seconds it may run, once it has its turn; ``limit`` is what set that.
    """

    workflow: Workflow = field(repr=False)
    workspace: Workspace
    staged: Mapping[str, str] = field(default_factory=dict)
    api_key: str | None = field(default=None, repr=False)
    on_event: Listener | None = None
    image_format: ImageFormat = PNG
    on_file: Callable[[Path], None] | None = None
    timeout_s: float | None = None
    limit: str = ""


@dataclass(frozen=True)
class RunResult:
    """What a graph produced.

    ``outputs``: ui dict of each node that has one, in the order of the workflow's nodes; keys are the ids that a user
    knows. ``errors``: one readable line for each thing that went wrong. ``status``: how the run ended.
    ``unnamed``: files in the output folder, by the output node that saved them and named nothing. ``error``: what ended
    it, where that was no node's doing; its text is in ``errors``.
    """

    status: Status
    outputs: Mapping[str, list[dict[str, Any]]]
    errors: tuple[str, ...] = ()
    unnamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    error: WorkerError | None = None


class Backend(Protocol):
    """Runs graphs, one after the other."""

    def submit(self, run: GraphRun) -> Future[RunResult]:
        """Queue ``run``. The future raises WorkflowRejected, JobInterrupted, JobTimedOut, JobStalled or BackendFailed.

        Raises:
            WorkerDefunct: it takes no more.
        """

    def interrupt(self, run: GraphRun) -> None:
        """Stop ``run``, at its next step if it runs, at once if it waits. No other run is touched."""

    def close(self) -> None:
        """Interrupt what runs and take no more."""
