"""Runs graphs with ComfyUI's own executor, in this process, on one thread of its own."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, cast

from worker.comfy_runtime.executor import NodeFailure, PromptOutcome
from worker.comfy_runtime.fingerprint import JobContent
from worker.comfy_runtime.messages import translate
from worker.comfy_runtime.prompts import Rejection
from worker.comfy_runtime.runtime import Runtime
from worker.errors import BackendFailed, JobInterrupted, WorkflowRejected
from worker.events import Event, Message, PromptEnded
from worker.graph_run import GraphRun, RunResult, Status
from worker.redact import public_text
from worker.rejection import explain_nodes, explain_rejection

_log = logging.getLogger("worker")
_STUCK_S = 15  # For a node that was interrupted and does not stop.


class _NoEditorGraph(dict[str, Any]):
    """``extra_pnginfo`` of a job that has no editor graph.

    Some packs look into it and need a dict, some take its ``workflow`` without asking; to those that only pass it on,
    and to files' metadata, it is empty.
    """

    def __missing__(self, key: str) -> dict[str, Any]:
        if key != "workflow":
            raise KeyError(key)
        return {"nodes": [], "links": [], "groups": [], "config": {}, "extra": {}}


class _Turn:
    """A run in the queue: its future, and whether it was told to stop."""

    def __init__(self, run: GraphRun) -> None:
        self.run = run
        self.future: Future[RunResult] = Future()
        self.context = contextvars.copy_context()  # The job's, so that log lines know whose they are.
        self.interrupted = False


class EmbeddedBackend:
    """Owns the thread on which every graph runs. ``close`` ends it; ComfyUI itself stays loaded."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._turns: queue.SimpleQueue[_Turn | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: dict[GraphRun, _Turn] = {}
        self._current: _Turn | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="comfy-executor", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, run: GraphRun) -> Future[RunResult]:
        turn = _Turn(run)
        with self._lock:
            if self._closed:
                raise BackendFailed("The worker is closed", fatal=True)
            self._waiting[run] = turn
            self._turns.put(turn)
        return turn.future

    def interrupt(self, run: GraphRun) -> None:
        with self._lock:
            turn = self._waiting.pop(run, None)
            if turn is None and self._current is not None and self._current.run is run:
                self._current.interrupted = True
                self._runtime.prompts.interrupt()
        if turn is not None:
            turn.future.set_exception(JobInterrupted())

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            runs = [*self._waiting, *([self._current.run] if self._current else [])]
        for run in runs:
            self.interrupt(run)
        self._turns.put(None)
        self._thread.join(timeout=_STUCK_S)
        if self._thread.is_alive():
            raise BackendFailed(
                f"A node did not stop within {_STUCK_S} s; this process cannot run another job", fatal=True
            )

    def _work(self) -> None:
        while (turn := self._turns.get()) is not None:
            with self._lock:
                if self._waiting.pop(turn.run, None) is None:
                    continue  # It was interrupted while it waited.
                self._current = turn
            turn.context.run(self._answer, turn)
            del turn  # The job's files go with the last who knows it, not when the next job comes.
            self._runtime.prompts.collect_garbage()

    def _answer(self, turn: _Turn) -> None:
        result: RunResult | None = None
        error: BaseException | None = None
        try:
            result = self._run(turn)
        except (WorkflowRejected, JobInterrupted) as expected:
            error = expected
        except Exception as unexpected:  # noqa: BLE001 - whatever it is, somebody waits for an answer.
            _log.exception("The embedded backend failed")
            error = BackendFailed(f"Internal error: {type(unexpected).__name__}", fatal=False)
        with self._lock:
            self._current = None
        if result is not None:
            turn.future.set_result(result)
        else:
            turn.future.set_exception(error or JobInterrupted())

    def _run(self, turn: _Turn) -> RunResult:
        run = turn.run
        # ComfyUI, its nodes and their handlers write into the graph they are given.
        graph = _copied(run.workflow)
        for node in graph.values():
            node.pop("is_changed", None)  # ComfyUI's own note in a graph, which it would believe.
        extra_data = {"extra_pnginfo": _NoEditorGraph(), **({"api_key_comfy_org": run.api_key} if run.api_key else {})}
        with self._visit(run):
            queued = self._runtime.prompts.queue_prompt(graph, extra_data)
            if isinstance(queued, Rejection):
                raise WorkflowRejected(self._explain(queued, run))
            outcomes = self._run_queue(turn)
        problems = explain_nodes(queued.node_errors)
        dropped = [f"Output dropped by validation: {public_text(line, [run.api_key])}" for line in problems]
        return _result(run, outcomes, dropped)

    @contextmanager
    def _visit(self, run: GraphRun) -> Iterator[None]:
        """Let the job's files and what it knows into ComfyUI, and out again."""
        folders, prompts = self._runtime.folders, self._runtime.prompts
        prompts.begin_job(JobContent(run.staged, run.api_key, run.workflow, run.image_format), run.on_file)
        try:
            folders.place(run.workspace)
            yield
        finally:
            prompts.end_job()
            folders.take(run.workspace)

    def _run_queue(self, turn: _Turn) -> list[PromptOutcome]:
        """Run the job's prompt, and those that its nodes put into the server's queue meanwhile."""
        outcomes: list[PromptOutcome] = []
        messages = _Messages(self._runtime, turn)
        while not turn.interrupted and (outcome := self._runtime.prompts.run_next(messages)) is not None:
            messages.tell(PromptEnded(outcome.prompt_id, outcome.status))
            outcomes.append(outcome)
            if outcome.status != "success":
                break
        if turn.interrupted and not outcomes:
            raise JobInterrupted
        return [*outcomes, *messages.blocked]

    def _explain(self, rejection: Rejection, run: GraphRun) -> str:
        text = explain_rejection(
            rejection.error,
            rejection.node_errors,
            run.workflow,
            has_node_class=self._runtime.has_node_class,
            checkpoints=lambda: self._runtime.model_files("checkpoints"),
        )
        return public_text(text, [run.api_key], max_length=20_000)


class _Messages:
    """Listens to ComfyUI while a run has its turn: hands events on, and holds an early interrupt until it counts."""

    def __init__(self, runtime: Runtime, turn: _Turn) -> None:
        self._runtime = runtime
        self._turn = turn
        self.blocked: list[PromptOutcome] = []

    def __call__(self, name: Any, data: Any) -> None:
        if name == "execution_start" and self._turn.interrupted:
            # The executor has just cleared the flag that an earlier interrupt had set.
            self._runtime.prompts.interrupt()
        if name == "execution_error" and data.get("exception_type") == "ExecutionBlocked":
            self.blocked.append(_blocked(data))
        if self._turn.run.on_event is not None:
            event = self._translated(name, data)
            if event is not None:
                self.tell(event)

    def _translated(self, name: Any, data: Any) -> Event | None:
        try:
            return translate(name, data, self._turn.run.workflow)
        except (KeyError, TypeError, ValueError, AttributeError):  # A node's message under a name of ComfyUI's.
            return Message(str(name), data)

    def tell(self, event: Event) -> None:
        listener = self._turn.run.on_event
        if listener is None:
            return
        try:
            listener(event)
        except Exception:  # noqa: BLE001 - a listener is the caller's code; the graph goes on without it.
            _log.exception("An event listener raised")


def _copied(value: Any) -> Any:
    """A copy of JSON; ``copy.deepcopy`` takes ten times as long."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _blocked(data: Mapping[str, Any]) -> PromptOutcome:
    """A node that an ExecutionBlocker with a message stopped; the rest of the graph goes on."""
    failure = NodeFailure(str(data["node_id"]), str(data["node_type"]), "ExecutionBlocked", data["exception_message"])
    return PromptOutcome(str(data["prompt_id"]), "success", failure=failure)


def _result(run: GraphRun, outcomes: list[PromptOutcome], dropped: list[str]) -> RunResult:
    outputs: dict[str, list[dict[str, Any]]] = {}
    for outcome in outcomes:
        for node_id, output in outcome.outputs.items():
            # A node of the workflow keeps its id; one from an expansion has that of the node which the user sees.
            seen_as = node_id if node_id in run.workflow else outcome.display_ids.get(node_id, node_id)
            outputs.setdefault(seen_as, []).append(output)
    order = {node_id: index for index, node_id in enumerate(run.workflow)}
    errors = [*dropped, *(_failure_line(o.failure, run.api_key) for o in outcomes if o.failure)]
    errors += [f"An image could not be saved: {public_text(line)}" for outcome in outcomes for line in outcome.unsaved]
    statuses = [outcome.status for outcome in outcomes]
    status = next((status for status in ("interrupted", "error") if status in statuses), "success")
    if status == "interrupted":
        errors.append(str(JobInterrupted()))
    return RunResult(
        cast(Status, status),
        dict(sorted(outputs.items(), key=lambda item: order.get(item[0], len(order)))),
        tuple(errors),
        {node_id: paths for outcome in outcomes for node_id, paths in outcome.unnamed.items()},
    )


def _failure_line(failure: NodeFailure, api_key: str | None) -> str:
    message = public_text(failure.message, [api_key]) or failure.exception_type
    return f"Workflow execution error: Node Type: {failure.node_type}, Node ID: {failure.node_id}, Message: {message}"
