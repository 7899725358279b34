"""Follows prompts on a server to their end, whatever becomes of the connection meanwhile."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from worker.errors import BackendFailed, JobInterrupted
from worker.protocol.prompt_outcome import PromptOutcome, outcome_of
from worker.remote.api import ComfyApi, ServerRefused, ServerUnreachable
from worker.remote.socket import Binary, EventSocket, Frame, SocketClosed, Text
from worker.remote.waiting import pause

_TICK_S = 0.25
_LOOK_S = 1.0  # Of silence, until the server is asked whether the prompt has ended; an event may have gone astray.
_LOOK_AT_QUEUE_S = 5.0  # Of silence, until it is asked whether the prompt is still there.
_STOP_AGAIN_S = 1.0
_SHORT_LIVED_S, _PAUSE_S = 1.0, 0.1  # A connection that is cut at once is not made again at once.
_LAST_FRAMES_S = 0.05
_ENDINGS = ("execution_success", "execution_error", "execution_interrupted")
_log = logging.getLogger("worker")


@dataclass
class _Heard:
    """What the websocket has told of one prompt, in the shape of the server's history."""

    outputs: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    ending: list[Any] | None = None

    def add(self, frame: Text) -> None:
        data = frame.data
        if frame.name in _ENDINGS and data.get("exception_type") != "ExecutionBlocked":
            self.ending = [frame.name, data]
        if frame.name == "executed" and isinstance(data.get("output"), dict):
            node_id = str(data.get("node"))
            self.outputs[node_id] = data["output"]
            self.meta[node_id] = {"display_node": data.get("display_node", node_id)}


@dataclass(frozen=True)
class Reconnecting:
    """How often, and how many seconds apart, a lost connection is made again."""

    attempts: int
    delay_s: float


class Follower:
    """Follows one job: its prompt, and those that its nodes queue under the same client id.

    Args:
        api: the server.
        socket: the connection; what is queued under its client id is the job's.
        reconnecting: what to do when the connection is lost.
        is_interrupted: whether the job shall stop.
        on_frame: gets every frame that is the job's.
    """

    def __init__(
        self,
        api: ComfyApi,
        socket: EventSocket,
        reconnecting: Reconnecting,
        is_interrupted: Callable[[], bool],
        on_frame: Callable[[Frame], None],
    ) -> None:
        self._api, self._socket = api, socket
        self._reconnecting = reconnecting
        self._is_interrupted = is_interrupted
        self._on_frame = on_frame
        self._heard: dict[str, _Heard] = {}
        self._told: set[str] = set()  # Prompts whose end the websocket has told.
        self._ended_ids: set[str] = set()
        self._waiting = 0
        self._failed_looks = 0
        self._connected_at = self._stopped_at = float("-inf")
        self.prompt_ids: list[str] = []

    def follow(self, prompt_id: str, on_end: Callable[[PromptOutcome], None]) -> None:
        """Wait until the job has ended; ``on_end`` is told of each of its prompts.

        Raises:
            JobInterrupted: it was stopped before it began.
            BackendFailed: the server is gone, or has lost the prompt.
        """
        current: str | None = prompt_id
        while current is not None:
            self._add([current])
            outcome = self._followed(current)
            self._ended_ids.add(current)
            on_end(outcome)
            if outcome.status != "success":
                return
            current = self._next()

    def _followed(self, prompt_id: str) -> PromptOutcome:
        looked = looked_at_queue = time.monotonic()
        while prompt_id not in self._told:
            self._stop_if_told(prompt_id)
            try:
                frame = self._socket.receive(_TICK_S)
            except SocketClosed as closed:
                self._reconnect(closed)
                entry = self._look(prompt_id, at_queue=True)
                if entry is not None:
                    return _outcome(prompt_id, entry)
                looked = looked_at_queue = time.monotonic()
                continue
            now = time.monotonic()
            if frame is not None and self._take(frame):
                looked = looked_at_queue = now
            elif now - looked > _LOOK_S or (frame is None and self._is_interrupted()):
                at_queue = now - looked_at_queue > _LOOK_AT_QUEUE_S or self._is_interrupted()
                entry = self._look(prompt_id, at_queue=at_queue)
                if entry is not None:
                    self._socket.close()  # It did not tell, so nobody may be at its other end.
                    return _outcome(prompt_id, entry)
                looked, looked_at_queue = now, now if at_queue else looked_at_queue
        return self._as_told(prompt_id)

    def _take(self, frame: Frame) -> bool:
        """Hand on a frame that is the job's, and note what it tells. Whether it tells of the job's prompts."""
        if isinstance(frame, Binary) or not isinstance(frame.data, dict):
            self._on_frame(frame)
            return isinstance(frame, Binary)
        data = frame.data
        if frame.name == "status":
            self._waiting = _queue_remaining(data)
        given_id = data.get("prompt_id")
        if frame.name == "execution_start" and isinstance(given_id, str):
            self._add([given_id])
        if given_id is not None and given_id not in self.prompt_ids:
            return False  # Another client's, told to all.
        if given_id is not None:
            self._heard.setdefault(given_id, _Heard()).add(frame)
            if frame.name == "executing" and data.get("node") is None:
                self._told.add(given_id)
        self._on_frame(frame)
        return given_id is not None

    def _add(self, prompt_ids: Iterable[str]) -> None:
        self.prompt_ids += [prompt_id for prompt_id in prompt_ids if prompt_id not in self.prompt_ids]

    def _as_told(self, prompt_id: str) -> PromptOutcome:
        """The outcome of a prompt whose end was told: as heard, where all was; otherwise as its history has it."""
        heard = self._heard.get(prompt_id, _Heard())
        as_heard = {"outputs": heard.outputs, "meta": heard.meta}
        all_heard = self._connected_at == float("-inf")  # The connection never broke.
        if all_heard and heard.outputs and heard.ending is not None and heard.ending[0] == "execution_success":
            return outcome_of(prompt_id, as_heard, [heard.ending])
        try:
            entry = self._api.history(prompt_id)
        except (ServerUnreachable, ServerRefused):
            if heard.ending is None:
                raise
            entry = None
        if entry is not None:
            return _outcome(prompt_id, entry)
        if heard.ending is None:
            raise _lost()
        return outcome_of(prompt_id, as_heard, [heard.ending])

    def _next(self) -> str | None:
        """The next prompt of the job, which a node has queued."""
        if self._waiting and self._ended_ids.issuperset(self.prompt_ids):
            with contextlib.suppress(ServerUnreachable, ServerRefused, SocketClosed):
                waiting = self._api.queue().of_client(self._socket.client_id)
                self._add(waiting)
                # One that is done already is told of in frames that are on their way.
                give_up = time.monotonic() + (0 if waiting else _LAST_FRAMES_S)
                while (left := give_up - time.monotonic()) > 0:
                    frame = self._socket.receive(left)
                    if frame is not None:
                        self._take(frame)
        return next((prompt_id for prompt_id in self.prompt_ids if prompt_id not in self._ended_ids), None)

    def _look(self, prompt_id: str, *, at_queue: bool) -> dict[str, Any] | None:
        """Ask the server: the prompt's history where it has ended, None where it goes on.

        Raises:
            JobInterrupted: it is gone, as it was told to.
            BackendFailed: it is gone.
        """
        try:
            entry = self._api.history(prompt_id, again=False)
            goes_on = entry is None and (not at_queue or prompt_id in self._api.queue(again=False))
            if entry is None and not goes_on:
                entry = self._api.history(prompt_id, again=False)  # It may have ended between the two questions.
        except (ServerUnreachable, ServerRefused) as error:
            self._failed_looks += 1
            _log.warning("ComfyUI does not tell whether the workflow goes on: %s", error)
            if self._failed_looks > self._reconnecting.attempts:
                raise
            if isinstance(error, ServerUnreachable):
                self._socket.close()  # So that it is found out whether anybody is there.
            self._wait(self._reconnecting.delay_s)
            return None
        self._failed_looks = 0
        if goes_on:
            return None
        if entry is None:
            raise JobInterrupted if self._is_interrupted() else _lost()
        return entry

    def _stop_if_told(self, prompt_id: str) -> None:
        # More than once: the server forgets an interrupt that comes just before the prompt begins.
        if self._is_interrupted() and time.monotonic() - self._stopped_at > _STOP_AGAIN_S:
            self._stopped_at = time.monotonic()
            with contextlib.suppress(ServerUnreachable, ServerRefused):
                self._api.stop(prompt_id)

    def _reconnect(self, closed: SocketClosed) -> None:
        if time.monotonic() - self._connected_at < _SHORT_LIVED_S:
            time.sleep(_PAUSE_S)
        _log.warning("The connection to ComfyUI was lost (%s); connecting again", closed)
        for attempt in range(self._reconnecting.attempts):
            if attempt:
                self._wait(self._reconnecting.delay_s)
            try:
                self._socket.open()
            except SocketClosed as error:
                _log.warning("Attempt %d of %d failed: %s", attempt + 1, self._reconnecting.attempts, error)
                continue
            self._connected_at = time.monotonic()
            return
        raise BackendFailed("The connection to ComfyUI was lost while the workflow ran")

    def _wait(self, seconds: float) -> None:
        pause(seconds, self._is_interrupted)
        if self._is_interrupted():
            raise JobInterrupted


def _lost() -> BackendFailed:
    return BackendFailed("ComfyUI has lost the workflow: it was restarted, or its queue was cleared")


def _outcome(prompt_id: str, entry: dict[str, Any]) -> PromptOutcome:
    """Read an entry of the server's history."""
    history = {name: _dicts(entry.get(name)) for name in ("outputs", "meta")}
    status = entry["status"] if isinstance(entry.get("status"), dict) else {}
    messages = status["messages"] if isinstance(status.get("messages"), list) else []
    pairs = [each for each in messages if isinstance(each, list) and len(each) == 2 and isinstance(each[1], dict)]
    endings = [each for each in pairs if each[0] in _ENDINGS]
    if not endings:
        endings = [["execution_success" if status.get("status_str") != "error" else "execution_error", {}]]
    return outcome_of(prompt_id, history, endings)


def _dicts(value: object) -> dict[str, Any]:
    return {key: each for key, each in value.items() if isinstance(each, dict)} if isinstance(value, dict) else {}


def _queue_remaining(data: dict[str, Any]) -> int:
    try:
        return int(data["status"]["exec_info"]["queue_remaining"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0
