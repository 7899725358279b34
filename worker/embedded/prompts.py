"""Queues and runs prompts with ComfyUI's own route, queue and executor."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from worker.embedded import versions
from worker.embedded.deferred.nodes.mapping import load_classes
from worker.embedded.files.job_files import JobFiles
from worker.embedded.pack_routes import PackRoutes
from worker.embedded.server import Client, MessageListener, prompt_route, take_prompt
from worker.embedded.watch.forced_interrupt import ForcedInterrupt
from worker.embedded.watch.page_wait import PageWait
from worker.protocol.prompt_outcome import NodeFailure, PromptOutcome, outcome_of

_log = logging.getLogger("worker")
_T = TypeVar("_T")
_HEEDS_S = 3.0  # A node that heeds ComfyUI's flag does so within a step of a sampler.


@dataclass(frozen=True)
class Rejection:
    """The ``/prompt`` route's refusal: ``error`` and ``node_errors`` in ComfyUI's own shape."""

    error: dict[str, Any]
    node_errors: dict[str, Any]


@dataclass(frozen=True)
class Accepted:
    """A queued prompt. ``node_errors``: the errors of outputs that validation dropped while others run."""

    prompt_id: str
    node_errors: dict[str, Any]


class PromptRunner:
    """Queues and runs prompts, on one thread. ``interrupt`` may be called on any thread.

    Args:
        main: ComfyUI's ``main`` module.
        server: the ``PromptServer`` of ``make_server``. Its loop must be running.
        executor: ComfyUI's ``PromptExecutor``.
        routes: the routes of ``server``.

    Attributes:
        on_broken: called with what has ended the executor outside of a node, before its caches are replaced.
    """

    def __init__(self, main: Any, server: Any, executor: Any, routes: PackRoutes) -> None:
        self._main, self._server, self._executor = main, server, executor
        self._post_prompt = prompt_route(server)
        self._loop = asyncio.new_event_loop()
        self._page_wait = PageWait(routes, self._loop)
        self._service: frozenset[threading.Thread] = frozenset()
        self._client: Client
        self._interrupt_error = main.comfy.model_management.InterruptProcessingException
        self._forced = ForcedInterrupt(self._interrupt_error)
        self.on_broken: Callable[[BaseException], object] = lambda _: None

    def queue_prompt(self, graph: dict[str, Any], extra_data: Mapping[str, Any]) -> Accepted | Rejection:
        """Queue ``graph`` with the server's own ``/prompt`` route, which may change the graph.

        Call it on the thread of ``run_next``. If packs have hooked the route, it runs on the server's loop, as they
        expect. Otherwise it runs on this thread, which is faster.
        """
        # Now, since an interrupt can stop a node, but not the import of its file.
        load_classes(self._main.nodes.NODE_CLASS_MAPPINGS, [node.get("class_type") for node in graph.values()])
        body = {
            "prompt": graph,
            "prompt_id": str(uuid.uuid4()),
            "client_id": self._client.id,
            "extra_data": dict(extra_data),
        }
        if self._server.on_prompt_handlers:
            status, answer = asyncio.run_coroutine_threadsafe(self._route(body), self._server.loop).result()
        else:
            status, answer = self._run(self._route(body))
        if status == 200:
            return Accepted(answer["prompt_id"], answer.get("node_errors") or {})
        return Rejection(answer.get("error") or {}, answer.get("node_errors") or {})

    async def _route(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            return await self._post_prompt(body)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - validation runs code of any node, and the loop must go on.
            # The stock server answers 500 here: a node's INPUT_TYPES or VALIDATE_INPUTS raised.
            _log.exception("ComfyUI's validation raised")
            text = f"{type(error).__name__}: {error}"
            return 500, {"error": {"type": "exception_during_validation", "message": text, "details": ""}}

    def run_next(self, files: JobFiles, on_message: MessageListener) -> PromptOutcome | None:
        """Run the next prompt of the server's queue, on the calling thread; None if the queue is empty.

        Any exception of a node becomes an outcome, even SystemExit. All files of the prompt are complete before its end
        is reported.
        """
        taken = take_prompt(self._server.prompt_queue)
        if taken is None:
            return None
        item, item_id = taken
        # An item that a node has queued may lack the last part, which older versions of ComfyUI did not have.
        _, prompt_id, graph, extra_data, outputs = item[:5]
        sensitive: dict[str, Any] = item[5] if len(item) > 5 else {}
        self._server.last_prompt_id = prompt_id
        files.begin_prompt()

        def listen(name: Any, data: Any) -> None:
            on_message(name, files.hear(graph, name, data))
            if name == "execution_cached":  # It does not call itself: such a circle would keep all that a job had.
                for message in files.shown_again(prompt_id, graph, outputs):
                    on_message("executed", files.hear(graph, "executed", message))

        self._client.listener = listen
        with versions.running(self._server, extra_data):
            try:
                # Validation returns a set. Its order differs between processes, and names of files depend on the order.
                order = {node_id: index for index, node_id in enumerate(graph)}
                ordered = sorted(outputs, key=lambda node_id: order.get(node_id, len(order)))
                outcome = self._execute(prompt_id, graph, {**extra_data, **sensitive}, ordered)
                return files.end_prompt(outcome, graph)
            finally:
                self._close_prompt(item_id, prompt_id)
                self._client.listener = None

    def _execute(
        self, prompt_id: str, graph: dict[str, Any], extra_data: dict[str, Any], outputs: Any
    ) -> PromptOutcome:
        executor = self._executor
        executor.history_result = {"outputs": {}, "meta": {}}
        executor.status_messages = []
        try:
            self._run(executor.execute_async(graph, prompt_id, extra_data, outputs))
        except self._interrupt_error:
            # Before the first node. Afterwards ComfyUI makes a message of it.
            executor.success = False
            executor.reset()
            return PromptOutcome(prompt_id, "interrupted")
        except BaseException as error:  # noqa: BLE001 - a node must not end this thread either.
            # ComfyUI does not catch a SystemExit or KeyboardInterrupt from a node. Then its caches are half written.
            self.on_broken(error)
            _log.exception("The executor broke in node %s", self._server.last_node_id)
            executor.reset()
            return PromptOutcome(prompt_id, "error", failure=self._escaped(graph, error))
        finally:
            self._cancel_leftover_tasks()
        return outcome_of(prompt_id, executor.history_result, executor.status_messages)

    def _run(self, step: Coroutine[Any, Any, _T]) -> _T:
        """Run ComfyUI's code, which may be interrupted by force until it has ended."""
        try:
            self._forced.open()
            try:
                return self._loop.run_until_complete(step)
            finally:
                self._forced.close()
        except self._interrupt_error:
            self._forced.close()  # It may have been raised where ``close`` began.
            raise

    def _escaped(self, graph: dict[str, Any], error: BaseException) -> NodeFailure:
        node_id = str(self._server.last_node_id)
        node_type = str(graph.get(node_id, {}).get("class_type", "unknown"))
        return NodeFailure(node_id, node_type, type(error).__name__, f"{type(error).__name__}: {error}")

    def _cancel_leftover_tasks(self) -> None:
        """Cancel what a prompt left running. The stock server's ``asyncio.run`` does so after each prompt."""
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

    def has_more(self) -> bool:
        """Whether a prompt waits, which a node of the job has queued."""
        return len(self._server.prompt_queue.queue) > 0

    def begin_job(self, *, tells_loading: bool = False) -> None:
        """Become a new client, and drop prompts that a task of an earlier job has queued after that job's end.

        ``tells_loading``: whether the job's listener is told of the models that ComfyUI loads.
        """
        self._service = self._service or frozenset(threading.enumerate())
        self._client = Client(self._server, self._service)
        self._client.tells_loading = tells_loading
        self._drop_waiting()

    def end_job(self) -> None:
        """Drop the job's prompts: the waiting ones, and what is told of those that ran.

        What is told of a node that failed has all its inputs, and so the caller's key.
        """
        self._client.close()
        self._drop_waiting()
        self._server.prompt_queue.wipe_history()
        self._executor.status_messages = []

    def _drop_waiting(self) -> None:
        if self._server.prompt_queue.queue:  # ComfyUI would tell all clients, even if there is none to drop.
            self._server.prompt_queue.wipe_queue()

    def interrupt(self, waited_s: float = 0.0) -> None:
        """Stop the running prompt at its next step or node, as the server's ``/interrupt`` does.

        Where it has not stopped ``waited_s`` seconds after the first interrupt, stop it within the node.
        """
        self._main.nodes.interrupt_processing()
        if waited_s >= _HEEDS_S:
            self._forced.throw()

    def waits_for_page(self) -> bool:
        """Whether the node that runs waits for a person in ComfyUI's page."""
        return self._page_wait.is_waiting(self._forced.thread)

    @property
    def last_node_id(self) -> Any:
        """The id of the node that runs, or that ran last."""
        return self._server.last_node_id

    def was_forced(self) -> bool:
        """Whether the prompt that ran last was stopped within a node, which may have left its work half done."""
        return self._forced.was_raised
