"""Prompts through ComfyUI's own route, queue and executor."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.embedded.executor import build_executor
from worker.embedded.files.fingerprint import JobContent, install_fingerprints
from worker.embedded.files.reuse import FileReuse
from worker.embedded.files.unnamed import UnnamedFiles
from worker.embedded.memory import DeviceMemory
from worker.embedded.save_image import ImageSaver, OnFile, SaveFailure
from worker.embedded.server import CLIENT_ID, MessageListener, prompt_route
from worker.engine.workspace import StateFolder
from worker.images.formats import PNG
from worker.protocol.prompt_outcome import NodeFailure, PromptOutcome, file_entries, outcome_of

_GC_INTERVAL_S = 10.0
_log = logging.getLogger("worker")


@dataclass(frozen=True)
class Rejection:
    """The ``/prompt`` route's refusal: ``error`` and ``node_errors`` in ComfyUI's own shape."""

    error: dict[str, Any]
    node_errors: dict[str, Any]


@dataclass(frozen=True)
class Accepted:
    """A queued prompt. ``node_errors``: of outputs that validation dropped while others run."""

    prompt_id: str
    node_errors: dict[str, Any]


def _without(outcome: PromptOutcome, failures: Sequence[SaveFailure], output: Path) -> PromptOutcome:
    """``outcome`` with a line for each image that could not be saved, in place of its entry."""
    gone = {str(failure.path) for failure in failures}

    def kept(entry: Any) -> bool:
        if not (isinstance(entry, dict) and "filename" in entry):
            return True
        return str(output / str(entry.get("subfolder") or "") / str(entry["filename"])) not in gone

    outputs = {
        node_id: {key: list(filter(kept, value)) if isinstance(value, list) else value for key, value in shown.items()}
        for node_id, shown in outcome.outputs.items()
    }
    lines = tuple(f"{failure.path.name}: {failure.error}" for failure in failures)
    return replace(outcome, outputs=outputs, unsaved=lines)


class PromptRunner:
    """Queues and runs prompts, on one thread; ``interrupt`` may be called from any.

    Args:
        main: ComfyUI's ``main`` module.
        server: the ``PromptServer`` of ``make_server``, its loop running.
        state: ComfyUI's folders.
    """

    def __init__(self, main: Any, server: Any, state: StateFolder) -> None:
        self._main = main
        self._server = server
        self._post_prompt = prompt_route(server)
        self._executor = build_executor(main, server)
        self._reuse = FileReuse(self._executor, state.output, state.temp, state.kept)
        self._saver = ImageSaver(main, state.output)
        self._saver.install()
        self._content = JobContent()
        self._on_file: OnFile | None = None
        self._output = state.output
        self._unnamed = UnnamedFiles(state.output, self._is_output_node)
        install_fingerprints(
            main.execution,
            main.nodes.NODE_CLASS_MAPPINGS,
            lambda: self._content,
            metadata=not main.args.disable_metadata,
        )
        self._loop = asyncio.new_event_loop()
        self._last_gc = time.monotonic()
        self._told: dict[str, dict[str, Any]] = {}
        self.memory = DeviceMemory(main.comfy.model_management, importlib.import_module("torch"), self._executor.reset)

    def queue_prompt(self, graph: dict[str, Any], extra_data: Mapping[str, Any]) -> Accepted | Rejection:
        """Put ``graph`` through the server's own ``/prompt`` route, which may change it.

        Belongs to the thread of ``run_next``. Where packs have hooked the route it runs on the server's loop, as they
        expect; otherwise here, which saves the way there and back.
        """
        body = {
            "prompt": graph,
            "prompt_id": str(uuid.uuid4()),
            "client_id": CLIENT_ID,
            "extra_data": dict(extra_data),
        }
        if self._server.on_prompt_handlers:
            status, answer = asyncio.run_coroutine_threadsafe(self._route(body), self._server.loop).result()
        else:
            status, answer = self._loop.run_until_complete(self._route(body))
        if status == 200:
            return Accepted(answer["prompt_id"], answer.get("node_errors") or {})
        return Rejection(answer.get("error") or {}, answer.get("node_errors") or {})

    async def _route(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            return await self._post_prompt(body)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - any node's code runs in validation; the loop must go on.
            # The stock server answers 500 here: a node's INPUT_TYPES or VALIDATE_INPUTS raised.
            _log.exception("ComfyUI's validation raised")
            text = f"{type(error).__name__}: {error}"
            return 500, {"error": {"type": "exception_during_validation", "message": text, "details": ""}}

    def run_next(self, on_message: MessageListener) -> PromptOutcome | None:
        """Run the next prompt of the server's queue, on the calling thread; None where the queue is empty.

        Whatever a node raises, and be it SystemExit, is an outcome.
        """
        queue = self._server.prompt_queue
        taken = queue.get(timeout=0)
        if taken is None:
            return None
        (_, prompt_id, graph, extra_data, outputs, sensitive), item_id = taken
        self._server.last_prompt_id = prompt_id

        def listen(name: Any, data: Any) -> None:
            data = self._look(graph, name, data)
            on_message(name, data)

        self._unnamed.begin()
        self._server.on_message = listen
        try:
            # Validation names outputs in an order that changes from process to process; file names follow it.
            ordered = sorted(outputs, key=list(graph).index)
            outcome = self._execute(prompt_id, graph, {**extra_data, **sensitive}, ordered)
        finally:
            failures = self._saver.finish()  # Who hears that the prompt has ended finds its files.
            self._close_prompt(item_id, prompt_id)
            self._server.on_message = None
        if failures:
            complete, outcome = outcome, _without(outcome, failures, self._output)
            self._reuse.forget([n for n in outcome.outputs if outcome.outputs[n] != complete.outputs[n]])
        self._reuse.after(outcome.outputs, graph)
        unnamed = self._unnamed.end()
        self._reuse.forget(unnamed)
        outcome = replace(outcome, unnamed=unnamed)
        if outcome.status != "success":
            self._reuse.after_failure(graph)
        return outcome

    def _is_output_node(self, class_type: str) -> bool:
        return bool(getattr(self._main.nodes.NODE_CLASS_MAPPINGS.get(class_type), "OUTPUT_NODE", False))

    def _look(self, graph: Mapping[str, Any], name: Any, data: Any) -> Any:
        """See what a message means for files; a pack may send anything under a name of ComfyUI's."""
        if not isinstance(data, dict):
            return data
        if name == "execution_cached" and isinstance(data.get("nodes"), list):
            return {**data, "nodes": self._reuse.before(data["nodes"])}
        node_id = data.get("node")
        if isinstance(node_id, str) and name in ("executing", "executed"):
            class_type = graph.get(node_id, {}).get("class_type")
            if name == "executing":
                self._saver.node_starts(class_type)
                self._unnamed.node_starts(node_id, class_type)
            else:
                if isinstance(data.get("output"), dict):
                    self._told[node_id] = data["output"]
                self._unnamed.node_names(node_id)
                self._tell_files(class_type, data.get("output"))
        return data

    def _tell_files(self, class_type: str | None, output: Any) -> None:
        """Tell of the files that a node has saved; the saver tells of its own."""
        if self._on_file is None or class_type == "SaveImage" or not isinstance(output, dict):
            return
        for entry in file_entries(output):
            if entry.get("type") == "output":
                self._on_file(self._output / str(entry.get("subfolder") or "") / str(entry["filename"]))

    def _execute(
        self, prompt_id: str, graph: dict[str, Any], extra_data: dict[str, Any], outputs: Any
    ) -> PromptOutcome:
        executor = self._executor
        executor.history_result = {"outputs": {}, "meta": {}}
        executor.status_messages = []
        try:
            self._loop.run_until_complete(executor.execute_async(graph, prompt_id, extra_data, outputs))
        except BaseException as error:  # noqa: BLE001 - nor may a node end this thread.
            # ComfyUI hands on what is no Exception (SystemExit, KeyboardInterrupt from a node) and leaves its caches
            # half-written.
            _log.exception("The executor broke in node %s", self._server.last_node_id)
            executor.reset()
            return PromptOutcome(prompt_id, "error", failure=self._escaped(graph, error))
        finally:
            self._cancel_leftover_tasks()
        return outcome_of(prompt_id, executor.history_result, executor.status_messages)

    def _escaped(self, graph: dict[str, Any], error: BaseException) -> NodeFailure:
        node_id = str(self._server.last_node_id)
        node_type = str(graph.get(node_id, {}).get("class_type", "unknown"))
        return NodeFailure(node_id, node_type, type(error).__name__, f"{type(error).__name__}: {error}")

    def _cancel_leftover_tasks(self) -> None:
        """``asyncio.run``, which the stock server uses for each prompt, cancels what a prompt left running."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def _close_prompt(self, item_id: int, prompt_id: str) -> None:
        executor, queue = self._executor, self._server.prompt_queue
        status = self._main.execution.PromptQueue.ExecutionStatus(
            status_str="success" if executor.success else "error",
            completed=executor.success,
            messages=executor.status_messages,
        )
        queue.task_done(item_id, executor.history_result, status=status, process_item=lambda item: item[:5])
        self._server.send_sync("executing", {"node": None, "prompt_id": prompt_id}, self._server.client_id)

    def begin_job(self, content: JobContent, on_file: OnFile | None = None) -> None:
        """From here on, prompts belong to a job that brings ``content``.

        ``on_file`` is told of each output file that is complete, on any thread, while the graph still runs.
        """
        self._content = content
        self._on_file = on_file
        self._told = {}
        self.memory.begin()
        self._saver.begin(content.image_format, on_file)
        # A task that a node left on the server's loop may have queued a prompt after its own job.
        self._server.prompt_queue.wipe_queue()

    def told_so_far(self) -> PromptOutcome:
        """What nodes of a job that does not stop have told; files that are still being encoded may be missing."""
        return PromptOutcome("", "interrupted", dict(self._told))

    def end_job(self) -> None:
        """Forget the job's prompts: those that still wait, and the server's history of those that ran."""
        self._server.prompt_queue.wipe_queue()
        self._server.prompt_queue.wipe_history()
        self._content = JobContent()
        self._on_file = None
        self._saver.begin(PNG, None)  # A thread that a node has left behind may go on saving.

    def interrupt(self) -> None:
        """Stop the running prompt at its next step or node, as the server's ``/interrupt`` does."""
        self._main.nodes.interrupt_processing()

    def collect_garbage(self) -> None:
        """What the stock server does between prompts, at most every ten seconds."""
        if time.monotonic() - self._last_gc > _GC_INTERVAL_S:
            gc.collect()
            self._main.comfy.model_management.soft_empty_cache()
            self._main.hook_breaker_ac10a0.restore_functions()
            self._last_gc = time.monotonic()
