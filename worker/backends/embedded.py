"""Runs graphs with ComfyUI's own executor, in this process, on one thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from worker.backends.results import dropped_lines, make_result, own_graph
from worker.backends.turns import Turn, Turns
from worker.comfy_runtime.fingerprint import JobContent
from worker.comfy_runtime.messages import translate_inner
from worker.comfy_runtime.prompts import Rejection
from worker.comfy_runtime.runtime import Runtime
from worker.errors import JobInterrupted, WorkflowRejected
from worker.events import PromptEnded
from worker.graph_run import GraphRun, RunResult
from worker.messages import tell
from worker.prompt_outcome import PromptOutcome, blocked
from worker.redact import public_text
from worker.rejection import explain_rejection


class _NoEditorGraph(dict[str, Any]):
    """``extra_pnginfo`` of a job that has no editor graph.

    Some packs look into it and need a dict, some take its ``workflow`` without asking; to those that only pass it on,
    and to files' metadata, it is empty.
    """

    def __missing__(self, key: str) -> dict[str, Any]:
        if key != "workflow":
            raise KeyError(key)
        return {"nodes": [], "links": [], "groups": [], "config": {}, "extra": {}}


class EmbeddedBackend:
    """Owns the thread on which every graph runs. ``close`` ends it; ComfyUI itself stays loaded."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        prompts = runtime.prompts
        self._turns = Turns("comfy-executor", self._run, prompts.interrupt, prompts.collect_garbage)

    def start(self) -> None:
        """Start the thread."""
        self._turns.start()

    def submit(self, run: GraphRun) -> Future[RunResult]:
        return self._turns.submit(run)

    def interrupt(self, run: GraphRun) -> None:
        self._turns.interrupt(run)

    def close(self) -> None:
        self._turns.close()

    def _run(self, turn: Turn) -> RunResult:
        run = turn.run
        graph = own_graph(run.workflow)
        extra_data = {"extra_pnginfo": _NoEditorGraph(), **({"api_key_comfy_org": run.api_key} if run.api_key else {})}
        with self._visit(run):
            queued = self._runtime.prompts.queue_prompt(graph, extra_data)
            if isinstance(queued, Rejection):
                raise WorkflowRejected(self._explain(queued, run))
            outcomes = self._run_queue(turn)
        return make_result(run, outcomes, dropped_lines(queued.node_errors, run))

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

    def _run_queue(self, turn: Turn) -> list[PromptOutcome]:
        """Run the job's prompt, and those that its nodes put into the server's queue meanwhile."""
        outcomes: list[PromptOutcome] = []
        messages = _Messages(self._runtime, turn)
        while not turn.interrupted and (outcome := self._runtime.prompts.run_next(messages)) is not None:
            tell(turn.run.on_event, PromptEnded(outcome.prompt_id, outcome.status))
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

    def __init__(self, runtime: Runtime, turn: Turn) -> None:
        self._runtime = runtime
        self._turn = turn
        self.blocked: list[PromptOutcome] = []

    def __call__(self, name: Any, data: Any) -> None:
        if name == "execution_start" and self._turn.interrupted:
            # The executor has just cleared the flag that an earlier interrupt had set.
            self._runtime.prompts.interrupt()
        if name == "execution_error" and data.get("exception_type") == "ExecutionBlocked":
            self.blocked.append(blocked(data))
        if self._turn.run.on_event is not None:
            tell(self._turn.run.on_event, translate_inner(name, data, self._turn.run.workflow))
