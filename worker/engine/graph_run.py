"""The interface of a backend: it takes a ``GraphRun`` and returns a ``RunResult``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from worker.convert.node.definitions import Definitions
from worker.engine.workspace import Workspace
from worker.errors import WorkerError
from worker.events import Listener
from worker.images.formats import PNG, ImageFormat
from worker.job.job import OfferedModel, Workflow
from worker.models.fetched import NO_MODELS, FetchedModels, callers_names
from worker.protocol.origins import Origins
from worker.redact import Sent, public_text

Status = Literal["success", "error", "interrupted"]


@dataclass(frozen=True)
class TimeLimit:
    """How long a run may take, from the start of its turn. ``source``: the setting or field that sets this limit."""

    seconds: float
    source: str


@dataclass(frozen=True, eq=False)
class GraphRun:
    """One graph to run.

    Attributes:
        workflow: the graph, in ComfyUI's API format.
        workspace: the job's folder, with its input files. The output files come there, too.
        staged: content hash of each input file, by the file's name.
        api_key: the key for ComfyUI's API nodes, the caller's or the operator's.
        on_event: called with the events of ``worker.events``, on the backend's thread.
        image_format: format of the images that SaveImage saves.
        on_file: called with each output file that is complete, on any thread, while the graph still runs.
        time_limit: how long the graph may run; None: no limit.
        extra_pnginfo: what the editor adds to the graph, for nodes and for the metadata of files.
        save_metadata: whether image files carry the graph.
        warnings: lines for the caller that change nothing else.
        report_ui: whether the answer has the ui dict of every node.
        written: what the caller has written of the graph, if the operator has written the rest.
        tells_loading: whether the listener is told of models that are loaded.
        preview_every_s: seconds between two previews of what a sampler makes; 0: none are asked for.
        models: model files that were fetched for the job.
        offered: what the request says about where its models can be had.
    """

    workflow: Workflow = field(repr=False)
    workspace: Workspace
    staged: Mapping[str, str] = field(default_factory=dict)
    api_key: str | None = field(default=None, repr=False)
    on_event: Listener | None = None
    image_format: ImageFormat = PNG
    on_file: Callable[[Path], None] | None = None
    time_limit: TimeLimit | None = None
    extra_pnginfo: Mapping[str, Any] | None = field(default=None, repr=False)
    save_metadata: bool = True
    warnings: tuple[str, ...] = ()
    report_ui: bool = False
    written: tuple[Any, ...] | None = None
    tells_loading: bool = False
    preview_every_s: float = 0.0
    models: FetchedModels = NO_MODELS
    offered: tuple[OfferedModel, ...] = ()

    def public(self, text: str, max_length: int = 2000) -> str:
        """``text`` as the caller may read it: see ``public_text``. What the request holds stays, but for its key."""
        named = callers_names(text) if self.models.files else text
        return public_text(named, [self.api_key], max_length, self.sent)

    @functools.cached_property
    def sent(self) -> Sent:
        """What the caller has written."""
        return Sent(*(self.written if self.written is not None else (self.workflow, self.extra_pnginfo)))

    @functools.cached_property
    def origins(self) -> Origins:
        """What the caller says about where the models and packs can be had."""
        return Origins((self.extra_pnginfo or {}).get("workflow"), [asdict(model) for model in self.offered])


def own_graph(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``workflow`` for ComfyUI, since its nodes and handlers change the graph that they get."""
    graph = cast(dict[str, Any], _copied(workflow))
    for node in graph.values():
        node.pop("is_changed", None)  # ComfyUI writes this into graphs, and would trust a caller's value.
    return graph


def _copied(value: Any) -> Any:
    """A deep copy of JSON. ``copy.deepcopy`` takes ten times as long."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class RunResult:
    """What a graph produced.

    Attributes:
        run: the run that produced it; its workspace holds the files.
        status: how the run ended.
        outputs: ui dicts of each node that has any, by node id, in the order of the workflow's nodes. Nodes of an
            expanded subgraph have the id of the node that the user sees.
        errors: one readable line for each thing that went wrong.
        warnings: lines for the caller that change nothing else: those of the run, and what the files lack.
        unnamed: paths in the output folder of files that no ui dict names, by the id of the node that saved them.
        error: the error that ended the run, if no node raised it; its text is in ``errors``, too.
        seconds: how long each part took, by the part's name.
        shows: the class of each output node that ran, by node id. Empty unless the run was a success.
        ui: the ui dict of each node that has one, by its own id, also in an expanded subgraph.
    """

    run: GraphRun
    status: Status
    outputs: Mapping[str, list[dict[str, Any]]]
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unnamed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    error: WorkerError | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    shows: Mapping[str, str] = field(default_factory=dict)
    ui: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Backend(Protocol):
    """Runs graphs, one after the other."""

    def submit(self, run: GraphRun) -> Future[RunResult]:
        """Queue ``run``. The future raises WorkflowRejected, JobInterrupted, JobTimedOut, JobStalled or BackendFailed.

        Raises:
            WorkerDefunct: this process runs no more graphs.
        """

    def interrupt(self, run: GraphRun) -> None:
        """Stop ``run``: at its next step if it runs, at once if it waits. Other runs are not affected."""

    def definitions(self) -> Definitions:
        """What its node classes declare, as of now. Asking for one may raise BackendFailed."""

    def close(self) -> None:
        """Interrupt all runs, and accept no more."""
