"""The embedded backend: runs graphs with ComfyUI's own executor, on a thread of this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

from worker.convert.node.definitions import Definitions
from worker.embedded.files.editor_data import EditorData
from worker.embedded.files.job_files import JobFiles
from worker.embedded.memory.broken_device import failure_of
from worker.embedded.memory.device import ran_out
from worker.embedded.memory.device_trouble import DeviceTrouble, device_failed
from worker.embedded.memory.rest import Rest
from worker.embedded.messages import Messages
from worker.embedded.previews import previews
from worker.embedded.prompts import Rejection
from worker.embedded.runtime import Runtime
from worker.embedded.save_image import metadata_of_job
from worker.embedded.watch.activity import Activity
from worker.engine.freeze import FreezeWatch
from worker.engine.graph_run import GraphRun, RunResult, own_graph
from worker.engine.life import Life
from worker.engine.memory_limits import MemoryLimits
from worker.engine.results import dropped_lines, dropped_outputs, make_result, refuse_unchecked_links
from worker.engine.time_limits import Patience, Signs
from worker.engine.turn import Turn
from worker.engine.turns import Turns
from worker.errors import JobInterrupted, JobWaitsForPage, OutOfMemory, WorkerError, WorkflowRejected
from worker.events import PromptEnded
from worker.protocol.messages import tell
from worker.protocol.missing_classes import why_not_there
from worker.protocol.prompt_outcome import NodeFailure, PromptOutcome
from worker.protocol.rejection import explain_rejection
from worker.protocol.spelling import respell
from worker.receipt.current import current, enter

_log = logging.getLogger("worker")


class EmbeddedBackend:
    """Owns the thread on which every graph runs. ``close`` ends the thread; ComfyUI itself stays loaded.

    Args:
        runtime: the running ComfyUI.
        life: the worker's life.
        patience: how long a run may show no sign of life, and how long it may take to stop.
        limits: of the host's memory. If the process has too much between runs, models and caches are freed. If that is
            not enough, the worker takes no more jobs.
        freeze: ends the process if a run does not end, and nothing else can run.
        imports_idly: whether node packs that no job has needed are imported while there is none.
    """

    def __init__(
        self,
        runtime: Runtime,
        life: Life | None = None,
        patience: Patience | None = None,
        limits: MemoryLimits | None = None,
        freeze: FreezeWatch | None = None,
        *,
        imports_idly: bool = False,
    ) -> None:
        self._runtime = runtime
        self._activity = Activity(lambda: self._turns.thread_id, runtime.gpu_is_busy)
        self._patience = patience or Patience()
        life, limits, self._job_memory = life or Life(), limits or MemoryLimits(), runtime.job_memory
        self._job_memory.limits = limits
        rest = Rest(runtime.main, runtime.memory, self._job_memory.process, life, limits)
        self._turns = Turns(
            "comfy-executor",
            self._run,
            runtime.prompts.interrupt,
            lambda: self._trouble.rest(rest),
            make_ready=self._make_ready,
            idle=runtime.late_packs.load_idly if imports_idly else lambda: False,
            patience=self._patience,
            signs=Signs(self._activity.moves, self._waits, self._job_memory if limits.job or limits.process else None),
            salvage=self._salvage,
            life=life,
            freeze=freeze,
        )
        self._trouble = DeviceTrouble(runtime.memory, self._turns)
        runtime.prompts.on_broken = lambda error: runtime.memory.fault(failure_of(error))

    def start(self) -> None:
        """Start the thread."""
        self._turns.start()

    def submit(self, run: GraphRun) -> Future[RunResult]:
        return self._turns.submit(run)

    def interrupt(self, run: GraphRun) -> None:
        self._turns.interrupt(run)

    def definitions(self) -> Definitions:
        return Definitions(self._runtime.about_class, lambda name: why_not_there(name, self._runtime))

    def close(self) -> None:
        self._turns.close()

    def _make_ready(self, turn: Turn) -> None:
        """Import the node packs that the graph needs. No limit of a job counts what that takes."""
        names = (node["class_type"] for node in turn.run.workflow.values())
        self._runtime.late_packs.load_for(map(self._runtime.runs_as, names))

    def _run(self, turn: Turn) -> RunResult:
        if self._patience.stall_s or self._patience.page_wait_s:
            self._activity.begin()
        self._trouble.begin(turn.run)
        with self._runtime.late_packs.graph_runs(), self._in_comfyui(turn.run) as files:
            result, failure = self._attempt(turn, files)
            if ran_out(failure) and not turn.interrupted and self._job_memory.refusal is None:
                _log.warning("Out of memory in node %s: models and caches are freed, and the job is run once more",
                             failure.node_id if failure else "?")  # fmt: skip
                self._runtime.memory.make_room()
                self._job_memory.process.trim()
                self._job_memory.begin()
                self._runtime.folders.drop_outputs()
                result, failure = self._attempt(turn, files)
            return self._judged(result, failure)

    @contextmanager
    def _in_comfyui(self, run: GraphRun) -> Iterator[JobFiles]:
        """Move the job's files into ComfyUI's folders. At the end, move all files there to the job's own folder."""
        folders, prompts = self._runtime.folders, self._runtime.prompts
        self._job_memory.begin()
        prompts.begin_job(tells_loading=run.tells_loading)
        try:
            writes = metadata_of_job(self._runtime.main.args, writes=run.save_metadata)
            with writes, previews(run.preview_every_s), self._runtime.files_of(run) as files:
                folders.bring_in(run.workspace)
                yield files
        finally:
            enter("collection")
            if (receipt := current()) is not None:
                receipt.counts.vram_peak = self._runtime.memory.peak()
            self._trouble.end()
            self._job_memory.end()
            prompts.end_job()
            folders.take_out(run.workspace)

    def _attempt(self, turn: Turn, files: JobFiles) -> tuple[RunResult, NodeFailure | None]:
        """Run the graph. Returns its result, and the node's failure that ended it, if there is one."""
        run = turn.run
        enter("validation")
        refuse_unchecked_links(run, self._runtime)
        graph = own_graph(run.workflow)
        respell(graph, run.staged, self._runtime.inputs_of, self._runtime.model_names)
        key = {"api_key_comfy_org": run.api_key} if run.api_key else {}
        extra_data = {"extra_pnginfo": EditorData(run.extra_pnginfo or {}), **key}
        queued = self._runtime.prompts.queue_prompt(graph, extra_data)
        if isinstance(queued, Rejection):
            if turn.interrupted:
                raise JobInterrupted
            raise WorkflowRejected(self._explain(queued, run))
        outcomes = self._run_queue(turn, files)
        failure = next((outcome.failure for outcome in outcomes if outcome.status == "error"), None)
        self._job_memory.judge(failure)
        errors, dropped = dropped_lines(queued.node_errors, run, self._runtime), dropped_outputs(queued.node_errors)
        return make_result(run, outcomes, errors, self._runtime, dropped), failure

    def _run_queue(self, turn: Turn, files: JobFiles) -> list[PromptOutcome]:
        """Run the job's prompt, and the prompts that its nodes put into the server's queue meanwhile."""
        outcomes: list[PromptOutcome] = []
        messages = Messages(self._runtime, turn, self._activity.event)
        while not turn.interrupted and (outcome := self._runtime.prompts.run_next(files, messages)) is not None:
            is_last = not self._runtime.prompts.has_more()
            tell(turn.run.on_event, PromptEnded(outcome.prompt_id, outcome.status, is_last))
            outcomes.append(outcome)
            if outcome.status != "success":
                break
        if self._runtime.prompts.was_forced():
            _log.warning("A node did not heed its interrupt and was ended within: models and caches are freed")
            self._runtime.memory.make_room()
        if turn.interrupted and not outcomes:
            raise JobInterrupted
        return [*outcomes, *messages.blocked]

    def _judged(self, result: RunResult, failure: NodeFailure | None) -> RunResult:
        """Add an error to ``result`` if the device or its memory failed. Then the worker may become defunct."""
        memory = self._runtime.memory
        if (fault := self._trouble.fault(failure)) is not None:
            error: WorkerError = device_failed(result.run, fault)
        elif self._job_memory.refusal is not None:
            error = self._job_memory.refusal
            self._job_memory.drop_results()
        elif failure is not None and ran_out(failure):
            figures = memory.figures()
            error = OutOfMemory(
                f"Out of memory in node {failure.node_id} ({failure.node_type}), also with all else removed from it: "
                f"{figures}. Use a larger GPU, smaller images or batches, or COMFY_ARGS=--lowvram"
            )
            memory.make_room()
            if not memory.came_back():
                self._turns.retire(f"memory does not come back ({memory.figures()})")
        else:
            return result
        return replace(result, error=error, errors=(*result.errors, str(error)))

    def _waits(self, turn: Turn) -> WorkerError | None:
        """The error of a run whose node waits for a person in ComfyUI's page."""
        if not self._runtime.prompts.waits_for_page() or self._activity.has_helpers():
            return None
        node_id = str(self._runtime.prompts.last_node_id)
        return JobWaitsForPage(node_id, str(turn.run.workflow.get(node_id, {}).get("class_type", "")))

    def _salvage(self, turn: Turn) -> RunResult | None:
        """The result of what a job has finished, if that job does not stop."""
        files = self._runtime.files.current
        self._job_memory.release()
        outcome = files.named_so_far() if files is not None else None  # It writes files itself, before all are copied.
        self._runtime.folders.copy_outputs(turn.run.workspace)
        return make_result(turn.run, [outcome], []) if outcome is not None else None

    def _explain(self, rejection: Rejection, run: GraphRun) -> str:
        error, node_errors = rejection.error, rejection.node_errors
        text = explain_rejection(error, node_errors, run.workflow, run.staged, self._runtime, run.origins)
        return run.public(text, max_length=20_000)
