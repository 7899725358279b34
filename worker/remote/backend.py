"""The remote backend: runs graphs on a ComfyUI server elsewhere, over its HTTP API and its websocket."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from worker.engine.freeze import FreezeWatch
from worker.engine.graph_run import GraphRun, RunResult, own_graph
from worker.engine.life import Life
from worker.engine.results import dropped_lines, dropped_outputs, make_result, refuse_unchecked_links
from worker.engine.turn import Turn
from worker.engine.turns import Turns
from worker.errors import BackendFailed, JobInterrupted, StartError, WorkflowRejected
from worker.events import Notice, PromptEnded, Say
from worker.protocol.messages import tell, translate
from worker.protocol.prompt_outcome import PromptOutcome, blocked
from worker.protocol.rejection import explain_rejection
from worker.protocol.spelling import names_below, respell
from worker.remote.api import ComfyApi, ServerClasses, errors_by_node
from worker.remote.follow import Follower, Reconnecting
from worker.remote.http import ServerRefused, ServerUnreachable
from worker.remote.leftovers import Leftovers
from worker.remote.page_frames import PageFrames
from worker.remote.socket import EventSocket, Frame, SocketClosed, Text, trace_frames
from worker.remote.transfer import fetch_outputs, upload_inputs, with_relative_names
from worker.remote.waiting import begun, pause, result_of
from worker.settings import Settings

_PATIENCE_S = 120.0  # How long a job waits for a server that does not answer. The server may be starting.
_SAY_EVERY_S = 10.0
_REST_AFTER_S = 0.05  # If a job comes within this time, it runs before the server is asked to forget the last one.
_MISUNDERSTOOD = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
_log = logging.getLogger("worker")


class WebsocketBackend:
    """A client of the ComfyUI server at ``COMFY_HOST``. Jobs run there one after the other."""

    def __init__(self, settings: Settings, life: Life | None = None, freeze: FreezeWatch | None = None) -> None:
        self._settings = settings
        self.api = ComfyApi(settings.comfy_host)
        self.definitions = self.api.definitions
        self._socket = EventSocket(self.api.base)
        self._reconnecting = Reconnecting(settings.websocket_reconnect_attempts, settings.websocket_reconnect_delay_s)
        self._leftovers = Leftovers(self.api)
        self._turns = Turns(
            "comfy-client", self._run, rest=self._leftovers.remove, rest_after_s=_REST_AFTER_S, life=life,
            freeze=freeze, stuck="The ComfyUI server does not answer, and a job waits for it",
        )  # fmt: skip

    def start(self, say: Say) -> None:
        """Wait for the server, then start the thread that runs jobs on it.

        Raises:
            StartError: the server did not answer in as many attempts as the settings allow.
        """
        if self._settings.websocket_trace:
            trace_frames()
        say(Notice(f"looking for ComfyUI at {self._settings.comfy_host}"))
        said, reason = time.monotonic(), ""
        for _ in self._attempts():
            try:
                self._socket.open()
                break
            except SocketClosed as closed:
                reason = str(closed)
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                say(Notice(f"still waiting for ComfyUI at {self._settings.comfy_host} ({reason})"))
        else:
            raise StartError(f"{self._not_reachable()} ({reason}) Is COMFY_HOST right?")
        self._turns.start()

    def submit(self, run: GraphRun) -> Future[RunResult]:
        return self._turns.submit(run)

    def interrupt(self, run: GraphRun) -> None:
        self._turns.interrupt(run)

    def close(self) -> None:
        try:
            self._turns.close()
            self._leftovers.remove()
        finally:
            self._socket.close()
            self.api.close()

    def _run(self, turn: Turn) -> RunResult:
        try:
            return self._run_on_server(turn)
        except ServerUnreachable:
            raise BackendFailed(self._not_reachable()) from None
        except ServerRefused as error:
            raise BackendFailed(turn.run.public(str(error))) from None
        except _MISUNDERSTOOD:
            _log.exception("ComfyUI sent what the worker does not understand")
            raise BackendFailed("ComfyUI sent an answer that the worker does not understand") from None

    def _run_on_server(self, turn: Turn) -> RunResult:
        run = turn.run
        self._connect(turn)
        if self._leftovers.has_strays:
            self._leftovers.remove()  # Otherwise this job would wait for prompts of earlier jobs.
        classes, pages = ServerClasses(self.api), PageFrames(self.api, run)
        prompt_id, node_errors = self._queue(turn, self._prepared(turn, classes), classes)
        outcomes, blocks = list[PromptOutcome](), list[PromptOutcome]()

        def on_frame(frame: Frame) -> None:
            pages.hear(frame)
            if isinstance(frame, Text):
                if (outcome := blocked(frame.name, frame.data)) is not None:
                    blocks.append(outcome)
                tell(run.on_event, translate(frame.name, frame.data, run.workflow))
            elif run.on_event is not None:
                tell(run.on_event, frame.event())

        def on_end(outcome: PromptOutcome, is_last: bool) -> None:
            self._leftovers.note_ended(outcome.prompt_id)
            outcomes.append(outcome)
            tell(run.on_event, PromptEnded(outcome.prompt_id, outcome.status, is_last))

        follower = Follower(self.api, self._socket, self._reconnecting, lambda: turn.interrupted, on_frame)
        try:
            follower.follow(prompt_id, on_end)
        finally:
            if not (outcomes and outcomes[-1].status == "success"):
                self._abandon(follower.prompt_ids, outcomes)
        self._turns.graph_ended()
        # Nobody waits for the files of a job that was cancelled. If a limit of time stopped it, they are its answer.
        outcomes = [with_relative_names(self.api, outcome) for outcome in outcomes]
        missing = fetch_outputs(self.api, outcomes, run, lambda: turn.interrupted and turn.ending is None)
        errors = [*dropped_lines(node_errors, run, classes), *missing]
        return make_result(run, [*pages.deliver(outcomes), *blocks], errors, classes, dropped_outputs(node_errors))

    def _prepared(self, turn: Turn, classes: ServerClasses) -> dict[str, Any]:
        """The graph that is posted. The job's input files are on the server by then."""
        run, graph = turn.run, own_graph(turn.run.workflow)
        folders = functools.cache(self.api.model_folders)
        refuse_unchecked_links(run, classes)
        respell(graph, run.staged, classes.inputs_of, lambda path: names_below(path, folders()))
        if not run.staged:
            return graph
        return upload_inputs(self.api, graph, run.staged, run.workspace.input, lambda: turn.interrupted)

    def _abandon(self, prompt_ids: Iterable[str], ended: Iterable[PromptOutcome]) -> None:
        """Note the prompts that may still run, and change the client id: the next job must not get their events."""
        for prompt_id in {*prompt_ids} - {outcome.prompt_id for outcome in ended}:
            self._leftovers.note_stray(prompt_id)
        self._leftovers.note_client(self._socket.client_id)
        self._socket.renew()

    def _connect(self, turn: Turn) -> None:
        """Make sure that the connection is open. If the server does not answer, wait for it."""
        with contextlib.suppress(SocketClosed):
            self._socket.drain()
            return
        for _ in self._attempts(_PATIENCE_S, lambda: turn.interrupted):
            with contextlib.suppress(SocketClosed):
                self._socket.open()
                return
        raise BackendFailed(self._not_reachable())

    def _attempts(
        self, patience_s: float = float("inf"), is_interrupted: Callable[[], bool] = lambda: False
    ) -> Iterable[int]:
        """Yield once for each attempt to reach the server, with a pause between them, until the settings allow no more.

        Raises:
            JobInterrupted: the job should stop.
        """
        most = self._settings.comfy_api_available_max_retries
        pause_s = self._settings.comfy_api_available_interval_ms / 1000
        give_up = time.monotonic() + max(patience_s, most * pause_s)
        for number in itertools.count():
            if number:
                pause(pause_s, is_interrupted)
            if is_interrupted():
                raise JobInterrupted
            if (most and number >= most) or time.monotonic() > give_up:
                return
            yield number

    def _not_reachable(self) -> str:
        return f"ComfyUI server ({self._settings.comfy_host}) not reachable after multiple retries."

    def _queue(self, turn: Turn, graph: Mapping[str, Any], classes: ServerClasses) -> tuple[str, Mapping[str, Any]]:
        """Post the graph. Returns the id of its prompt, and validation's errors for outputs that it dropped."""
        run, prompt_id = turn.run, str(uuid.uuid4())
        key = {"api_key_comfy_org": run.api_key} if run.api_key else {}
        previews = {"preview_method": self.api.preview_method()} if run.preview_every_s else {}
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            "client_id": self._socket.client_id,
            "extra_data": {"extra_pnginfo": run.extra_pnginfo or {}, **key, **previews},
        }
        try:
            accepted, answer = self._posted(turn, body)
        except BaseException:  # The server may have the prompt all the same.
            self._abandon([], [])
            raise
        if not accepted:
            self._leftovers.note_refused(prompt_id)
            raise WorkflowRejected(_explained(answer, run, classes))
        given_id, errors = str(answer.get("prompt_id") or prompt_id), answer.get("node_errors")
        if given_id != prompt_id:  # Older versions of ComfyUI choose the id themselves.
            self._leftovers.note_refused(prompt_id)
            self._leftovers.note_stray(given_id)
        return given_id, errors_by_node(errors)

    def _posted(self, turn: Turn, body: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Post ``body``. Post it again if the connection was cut and the server did not get it."""
        prompt_id = body["prompt_id"]
        try:
            return self._post(turn, body)
        except ServerUnreachable as error:
            self._connect(turn)
            if self.api.history(prompt_id) is not None or prompt_id in self.api.queue():
                return True, {}
            if error.is_silent:  # The server may still be validating the graph.
                raise
            return self._post(turn, body)

    def _post(self, turn: Turn, body: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        if turn.interrupted:
            raise JobInterrupted
        posting = begun(lambda: self.api.queue_prompt(body))
        self._leftovers.note_stray(body["prompt_id"], posting)
        return result_of(posting, lambda: turn.interrupted)


def _explained(answer: Mapping[str, Any], run: GraphRun, classes: ServerClasses) -> str:
    error = answer.get("error")
    if not isinstance(error, dict):
        raise ServerRefused(400, str(error or ""), "POST /prompt")
    node_errors = errors_by_node(answer.get("node_errors"))
    text = explain_rejection(error, node_errors, run.workflow, run.staged, classes, run.origins)
    return run.public(text, max_length=20_000)
