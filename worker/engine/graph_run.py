"""What every backend takes and gives: a ``GraphRun`` and a ``RunResult``."""

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


@dataclass(frozen=True)
class TimeLimit:
    """How long a run may take, from the start of its turn. ``source``: the setting or field that says so."""

    seconds: float
    source: str


@dataclass(frozen=True, eq=False)
class GraphRun:
    """One graph to run.

    Attributes:
        workflow: the graph, in ComfyUI's API format.
        workspace: the job's folder: it holds the input files and gets the output files.
        staged: content hash of each input file, by its name.
        api_key: the caller's key for ComfyUI's API nodes.
        on_event: gets the events of ``worker.events``, on the backend's thread.
        image_format: of what SaveImage saves.
        on_file: is told of each output file that is complete, on any thread, while the graph still runs.
        time_limit: how long it may run; None without a limit.
    """

    workflow: Workflow = field(repr=False)
    workspace: Workspace
    staged: Mapping[str, str] = field(default_factory=dict)
    api_key: str | None = field(default=None, repr=False)
    on_event: Listener | None = None
    image_format: ImageFormat = PNG
    on_file: Callable[[Path], None] | None = None
    time_limit: TimeLimit | None = None


@dataclass(frozen=True)
class RunResult:
    """What a graph produced.

    Attributes:
        run: the run that produced it; its workspace holds the files.
        status: how the run ended.
        outputs: ui dict of each node that has one, in the order of the workflow's nodes. Keys are the ids that a user
            knows.
        errors: one readable line for each thing that went wrong.
        unnamed: files in the output folder that no node named, by the output node that saved them.
        error: what ended the run, if no node did; its text is in ``errors``.
        seconds: how long each part took, by its name.
    """

    run: GraphRun
    status: Status
    outputs: Mapping[str, list[dict[str, Any]]]
    errors: tuple[str, ...] = ()
    unnamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    error: WorkerError | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


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
