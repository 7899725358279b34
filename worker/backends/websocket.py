"""Runs graphs on a ComfyUI server elsewhere, over its HTTP API and its websocket: the compatibility mode."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from worker.backends.results import dropped_lines, make_result, own_graph
from worker.backends.turns import Turn, Turns
from worker.comfy_client.api import ComfyApi, ServerRefused, ServerUnreachable
from worker.comfy_client.follow import Follower, Reconnecting
from worker.comfy_client.names import job_folder, place, renamed
from worker.comfy_client.socket import EventSocket, Frame, SocketClosed, Text, trace_frames
from worker.errors import BackendFailed, JobInterrupted, StartError, WorkflowRejected
from worker.events import PromptEnded
from worker.graph_run import GraphRun, RunResult
from worker.messages import tell, translate
from worker.prompt_outcome import PromptOutcome, blocked, file_entries
from worker.redact import encodable, public_text
from worker.rejection import explain_rejection
from worker.settings import Settings
from worker.workspace import Workspace

_PATIENCE_S = 120.0  # For a server that is down when a job comes: as long as one takes to start.
_SAY_EVERY_S = 10.0
_FETCHES = 4
_log = logging.getLogger("worker")


class WebsocketBackend:
    """One client of the server at ``COMFY_HOST``; its jobs run there one after the other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client_id = uuid.uuid4().hex
        self.api = ComfyApi(settings.comfy_host)
        self._socket = EventSocket(self.api.base, self._client_id)
        self._reconnecting = Reconnecting(settings.websocket_reconnect_attempts, settings.websocket_reconnect_delay_s)
        self._ended: list[str] = []  # Prompts that the server shall forget.
        self._stray: list[str] = []  # Prompts that nobody waits for any more, and that may still run.
        self._turns = Turns("comfy-client", self._run, rest=self._tidy)

    def start(self, say: Callable[[str], None]) -> None:
        """Wait for the server, and start the thread that talks to it.

        Raises:
            StartError: it does not answer, in as many attempts as the settings allow.
        """
        if self._settings.websocket_trace:
            trace_frames()
        say(f"looking for ComfyUI at {self._settings.comfy_host}")
        said = time.monotonic()
        reason = ""
        for _ in self._attempts():
            try:
                self._socket.open()
                break
            except SocketClosed as closed:
                reason = str(closed)
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                say(f"still waiting for ComfyUI at {self._settings.comfy_host} ({reason})")
        else:
            raise StartError(f"{self._not_reachable()} ({reason}) Is COMFY_HOST right?")
        self._turns.start()

    def submit(self, run: GraphRun) -> Future[RunResult]:
        return self._turns.submit(run)

    def interrupt(self, run: GraphRun) -> None:
        self._turns.interrupt(run)

    def close(self) -> None:
        self._turns.close()
        self._socket.close()
        self.api.close()

    def _run(self, turn: Turn) -> RunResult:
        try:
            return self._run_on_server(turn)
        except ServerUnreachable:
            raise BackendFailed(self._not_reachable(), fatal=False) from None
        except ServerRefused as error:
            raise BackendFailed(public_text(str(error), [turn.run.api_key]), fatal=False) from None

    def _run_on_server(self, turn: Turn) -> RunResult:
        run = turn.run
        self._connect(turn)
        graph = self._staged_graph(turn)
        prompt_id, node_errors = self._queue(turn, graph)
        outcomes: list[PromptOutcome] = []
        blocks: list[PromptOutcome] = []

        def on_frame(frame: Frame) -> None:
            if isinstance(frame, Text):
                is_error = frame.name == "execution_error" and isinstance(frame.data, dict)
                if is_error and frame.data.get("exception_type") == "ExecutionBlocked":
                    blocks.append(blocked(frame.data))
                tell(run.on_event, translate(frame.name, frame.data, run.workflow))
            elif run.on_event is not None:
                tell(run.on_event, frame.event())

        def on_end(outcome: PromptOutcome) -> None:
            tell(run.on_event, PromptEnded(outcome.prompt_id, outcome.status))
            outcomes.append(outcome)

        follower = Follower(
            self.api,
            self._socket,
            self._client_id,
            self._reconnecting,
            lambda: turn.interrupted,
            on_frame,
            self._stray,
        )
        try:
            follower.follow(prompt_id, on_end)
        finally:
            self._ended = [outcome.prompt_id for outcome in outcomes]
            self._stray += [one for one in follower.prompt_ids if one not in self._ended]
        missing = self._fetch(outcomes, run.workspace)
        return make_result(run, [*outcomes, *blocks], [*dropped_lines(node_errors, run), *missing])

    def _connect(self, turn: Turn) -> None:
        """See that the connection stands; waits for a server that starts."""
        with contextlib.suppress(SocketClosed):
            self._socket.drain()
            return
        for _ in self._attempts(_PATIENCE_S):
            if turn.interrupted:
                raise JobInterrupted
            with contextlib.suppress(SocketClosed):
                self._socket.open()
                return
        raise BackendFailed(self._not_reachable(), fatal=False)

    def _attempts(self, patience_s: float = float("inf")) -> Iterable[int]:
        """Counts attempts, with the pause between them that the settings want, until there shall be no more."""
        most = self._settings.comfy_api_available_max_retries
        give_up = time.monotonic() + patience_s
        for number in itertools.count():
            if number:
                time.sleep(self._settings.comfy_api_available_interval_ms / 1000)
            if (most and number >= most) or (not most and time.monotonic() > give_up):
                return
            yield number

    def _not_reachable(self) -> str:
        return f"ComfyUI server ({self._settings.comfy_host}) not reachable after multiple retries."

    def _staged_graph(self, turn: Turn) -> dict[str, Any]:
        """The graph as the server gets it, when the job's files are there."""
        run = turn.run
        graph = own_graph(run.workflow)
        if not run.staged:
            return graph
        folder = job_folder(run.staged)
        names = {}
        for name in run.staged:
            if turn.interrupted:
                raise JobInterrupted
            subfolder, filename = place(name, folder)
            names[name] = self.api.upload(run.workspace.input / name, filename, subfolder)
        return renamed(graph, names, folder)

    def _queue(self, turn: Turn, graph: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Post the graph: its prompt's id, and what validation says of outputs that it dropped."""
        run = turn.run
        if turn.interrupted:
            raise JobInterrupted
        prompt_id = str(uuid.uuid4())
        key = {"api_key_comfy_org": run.api_key} if run.api_key else {}
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            "client_id": self._client_id,
            "extra_data": {"extra_pnginfo": {}, **key},
        }
        accepted, answer = self._posted(turn, body)
        if not accepted:
            raise WorkflowRejected(self._explain(answer, run))
        return str(answer.get("prompt_id") or prompt_id), answer.get("node_errors") or {}

    def _posted(self, turn: Turn, body: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Post ``body``, again where the connection was cut and the server has not got it."""
        try:
            return self.api.queue_prompt(body)
        except ServerUnreachable as error:
            self._connect(turn)
            if self.api.history(body["prompt_id"]) is not None or body["prompt_id"] in self.api.queue():
                return True, {}
            if error.is_silent:  # It may still be at it.
                raise
            return self.api.queue_prompt(body)

    def _explain(self, answer: Mapping[str, Any], run: GraphRun) -> str:
        error = answer.get("error") or {}
        text = explain_rejection(
            error if isinstance(error, dict) else {"message": str(error)},
            answer.get("node_errors") or {},
            run.workflow,
            has_node_class=functools.cache(self._has_node_class),
            checkpoints=lambda: self.api.model_files("checkpoints"),
        )
        return public_text(text, [run.api_key], max_length=20_000)

    def _has_node_class(self, class_type: str) -> bool:
        try:
            return self.api.has_node_class(class_type)
        except ServerRefused:  # Its INPUT_TYPES raise; it is there.
            return True

    def _fetch(self, outcomes: Iterable[PromptOutcome], workspace: Workspace) -> list[str]:
        """Bring the files that nodes have named into the job's folder; a line for each that cannot be brought."""
        wanted: dict[Path, Mapping[str, Any]] = {}
        for entry in itertools.chain.from_iterable(file_entries(ui) for o in outcomes for ui in o.outputs.values()):
            target = _target(entry, workspace)
            if target is not None:
                wanted[target] = entry
        if len(wanted) < 2:
            return [line for target, entry in wanted.items() if (line := self._fetched(entry, target))]
        with ThreadPoolExecutor(_FETCHES, "comfy-fetch") as pool:
            lines = pool.map(self._fetched, wanted.values(), wanted.keys())
            return [line for line in lines if line]

    def _fetched(self, entry: Mapping[str, Any], target: Path) -> str | None:
        """A line where a file cannot be brought. One that the server does not have is told by whoever looks for it."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.api.fetch(entry, target)
        except (ServerUnreachable, ServerRefused) as error:
            reason = str(error)
        except OSError as error:
            reason = error.strerror or type(error).__name__
        else:
            return None
        target.unlink(missing_ok=True)
        return f"{encodable(target.name)} could not be fetched from ComfyUI ({public_text(reason)})"

    def _tidy(self) -> None:
        """After a job: what may still run is stopped, and the server's history of it removed."""
        try:
            for prompt_id in self._stray:
                self.api.stop(prompt_id)
            if self._ended or self._stray:
                self.api.forget([*self._ended, *self._stray])
            self._ended, self._stray = [], []
        except (ServerUnreachable, ServerRefused) as error:
            _log.warning("What a job has left on the ComfyUI server could not be removed: %s", error)


def _target(entry: Mapping[str, Any], workspace: Workspace) -> Path | None:
    """Where a file belongs in the job's folder; None for previews, and for names that lead out of it."""
    kind, filename = entry.get("type"), str(entry["filename"])
    parts = [*str(entry.get("subfolder") or "").split("/"), *filename.split("/")]
    if kind not in ("output", "input") or filename.startswith("/") or ".." in parts or "\0" in "".join(parts):
        return None
    if not parts[-1] or str(entry.get("subfolder") or "").startswith("/"):
        return None
    return (workspace.input if kind == "input" else workspace.output).joinpath(*[part for part in parts if part])
