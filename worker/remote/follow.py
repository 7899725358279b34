"""Follows a job's prompts on a server until they end, even if the connection is lost meanwhile."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worker.errors import BackendFailed, JobInterrupted
from worker.protocol.prompt_outcome import PromptOutcome
from worker.remote.api import ComfyApi
from worker.remote.heard import HeardJob
from worker.remote.history import outcome_in_history
from worker.remote.http import ServerRefused, ServerUnreachable
from worker.remote.socket import Binary, EventSocket, Frame, SocketClosed
from worker.remote.waiting import pause

_TICK_S = 0.25
_ASK_HISTORY_S = 1.0  # After so much silence, ask whether the prompt has ended, since a message may have been lost.
_ASK_QUEUE_S = 5.0  # After so much silence, also ask whether the prompt is still in the queue.
_STOP_AGAIN_S = 1.0
_SHORT_LIVED_S, _PAUSE_S = 1.0, 0.1  # If a connection lasted less than the first, pause before connecting again.
_LAST_FRAMES_S = 0.05
_MOST_LAST_FRAMES_S = 2.0  # The server has sent them, but on a busy machine they may take so long.
_log = logging.getLogger("worker")


@dataclass(frozen=True)
class Reconnecting:
    """How often to try to connect again when the connection is lost, and the seconds between attempts."""

    attempts: int
    delay_s: float


class Follower:
    """Follows one job: its prompt, and the prompts that its nodes queue under the same client id.

    Args:
        api: the server's HTTP API.
        socket: the connection. Every prompt that is queued under its client id belongs to the job.
        reconnecting: what to do when the connection is lost.
        is_interrupted: returns whether the job should stop.
        on_frame: called with every frame that belongs to the job.
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
        self._heard = HeardJob()
        self._ended_ids: set[str] = set()
        self._failures = 0
        self._connected_at = self._stopped_at = float("-inf")

    @property
    def prompt_ids(self) -> list[str]:
        """The job's prompts that are known so far."""
        return self._heard.prompt_ids

    def follow(self, prompt_id: str, on_end: Callable[[PromptOutcome, bool], None]) -> None:
        """Wait until the job has ended.

        ``on_end`` is called with the outcome of each of its prompts, and whether it is the last one. All frames of a
        prompt are passed on before its end, and none of the next one.

        Raises:
            JobInterrupted: the job was stopped before it began.
            BackendFailed: the server does not answer, or has lost the prompt.
        """
        current: str | None = prompt_id
        while current is not None:
            self._heard.add([current])
            outcome = self._wait_for_end(current)
            self._ended_ids.add(current)
            held = list[Frame]()  # The next prompt may begin before it is known whether there is one.
            current = self._next(held.append) if outcome.status == "success" else None
            on_end(outcome, current is None)
            for frame in held:
                self._on_frame(frame)

    def _wait_for_end(self, prompt_id: str) -> PromptOutcome:
        asked = asked_queue = time.monotonic()
        while not self._heard.prompt(prompt_id).is_over:
            self._stop_if_interrupted(prompt_id)
            try:
                frame = self._socket.receive(_TICK_S)
            except SocketClosed as closed:
                self._reconnect(closed)
                entry = self._ask(prompt_id, with_queue=True)
                if entry is not None:
                    return outcome_in_history(prompt_id, entry)
                asked = asked_queue = time.monotonic()
                continue
            now = time.monotonic()
            if frame is not None and self._take(frame, self._on_frame):
                asked = asked_queue = now
            elif now - asked > _ASK_HISTORY_S or (frame is None and self._is_interrupted()):
                with_queue = now - asked_queue > _ASK_QUEUE_S or self._is_interrupted()
                entry = self._ask(prompt_id, with_queue=with_queue)
                if entry is not None:
                    with contextlib.suppress(SocketClosed):
                        self._take_frames(_LAST_FRAMES_S, self._on_frame)  # A busy machine may bring them late.
                    self._socket.close()  # The websocket did not report the end, so it may be dead.
                    return outcome_in_history(prompt_id, entry)
                asked, asked_queue = now, now if with_queue else asked_queue
        return self._outcome(prompt_id)

    def _take_frames(
        self, seconds: float, on_frame: Callable[[Frame], None], is_enough: Callable[[], bool] = lambda: False
    ) -> None:
        """Pass on the frames that come within ``seconds``, or until it ``is_enough``.

        Raises:
            SocketClosed: the connection is lost.
        """
        give_up = time.monotonic() + seconds
        while not is_enough() and (left := give_up - time.monotonic()) > 0:
            frame = self._socket.receive(left)
            if frame is not None:
                self._take(frame, on_frame)

    def _take(self, frame: Frame, on_frame: Callable[[Frame], None]) -> bool:
        """Note what a frame says, and pass it on if it is the job's. True if it is about one of the job's prompts."""
        if isinstance(frame, Binary):
            # After a connection was lost, previews of the job before may come, and belong to another caller.
            if frame.prompt_id() not in (None, *self.prompt_ids):
                return False
            on_frame(frame)
            return True
        if not isinstance(frame.data, dict):
            on_frame(frame)
            return False
        if not self._heard.note(frame):
            return False
        on_frame(frame)
        return frame.data.get("prompt_id") is not None

    def _outcome(self, prompt_id: str) -> PromptOutcome:
        """The outcome of a prompt that is over. Read it from the history if the websocket may have missed something."""
        heard = self._heard.prompt(prompt_id)
        told = heard.outcome(prompt_id)
        never_broken = self._connected_at == float("-inf")
        if never_broken and heard.outputs and told is not None and told.status == "success":
            return told
        try:
            entry = self._api.history(prompt_id)
        except (ServerUnreachable, ServerRefused):
            if told is None:
                raise
            return told
        if entry is not None:
            return outcome_in_history(prompt_id, entry)
        if told is None:
            raise _lost()
        return told

    def _next(self, on_frame: Callable[[Frame], None]) -> str | None:
        """The next prompt of the job, which a node has queued; None if there is none.

        ``on_frame`` is called with the frames that come meanwhile.
        """
        if self._heard.queue_length and self._known() is None:
            with contextlib.suppress(ServerUnreachable, ServerRefused, SocketClosed):
                queue = self._api.queue()
                # The next prompt may have ended by now, and the one after it may run. Then the queue does not show it,
                # and its frames are on their way. If the queue is empty, they come before the message that says so.
                seconds = _LAST_FRAMES_S if queue.running or queue.pending else _MOST_LAST_FRAMES_S
                self._take_frames(seconds, on_frame, lambda: self._known() is not None or not self._heard.queue_length)
                self._heard.add(queue.of_client(self._socket.client_id))
        return self._known()

    def _known(self) -> str | None:
        """The next prompt of the job, if it is known; those that began are in their order."""
        return next((prompt_id for prompt_id in self.prompt_ids if prompt_id not in self._ended_ids), None)

    def _ask(self, prompt_id: str, *, with_queue: bool) -> dict[str, Any] | None:
        """Ask the server for the prompt: its entry in the history if the prompt has ended, None if it goes on.

        ``with_queue``: also check that the prompt is still in the queue.

        Raises:
            JobInterrupted: the server has no such prompt, and the job was told to stop.
            BackendFailed: the server has no such prompt, and the job was not told to stop.
        """
        try:
            entry = self._api.history(prompt_id, retry=False)
            goes_on = entry is None and (not with_queue or prompt_id in self._api.queue(retry=False))
            if entry is None and not goes_on:
                entry = self._api.history(prompt_id, retry=False)  # The prompt may have ended between the two requests.
        except (ServerUnreachable, ServerRefused) as error:
            self._failures += 1
            _log.warning("ComfyUI does not tell whether the workflow goes on: %s", error)
            if self._failures > self._reconnecting.attempts:
                raise
            if isinstance(error, ServerUnreachable):
                self._socket.close()  # So that a new connection shows whether the server still answers.
            self._wait(self._reconnecting.delay_s)
            return None
        self._failures = 0
        if goes_on:
            return None
        if entry is None:
            raise JobInterrupted if self._is_interrupted() else _lost()
        return entry

    def _stop_if_interrupted(self, prompt_id: str) -> None:
        # Repeat it, since the server forgets an interrupt that comes just before the prompt begins.
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
