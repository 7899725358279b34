"""Notes what the websocket has said about a job's prompts so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from worker.protocol.prompt_outcome import PromptOutcome, outcome_of
from worker.remote.history import ENDINGS
from worker.remote.socket import Text


@dataclass
class HeardPrompt:
    """What the websocket said about one prompt, in the shape of the server's history.

    ``ending``: name and data of the message that says how the prompt ended. ``is_over``: whether the last message about
    the prompt, which follows that one, has come.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    ending: list[Any] | None = None
    is_over: bool = False

    def note(self, frame: Text) -> None:
        """Note what a frame about this prompt says."""
        data = frame.data
        if frame.name in ENDINGS and data.get("exception_type") != "ExecutionBlocked":
            self.ending = [frame.name, data]
        if frame.name == "executed" and isinstance(data.get("output"), dict):
            node_id = str(data.get("node"))
            self.outputs[node_id] = data["output"]
            self.meta[node_id] = {"display_node": data.get("display_node", node_id)}
        if frame.name == "executing" and data.get("node") is None:
            self.is_over = True

    def outcome(self, prompt_id: str) -> PromptOutcome | None:
        """The outcome by the messages so far; None if the ending is not among them."""
        if self.ending is None:
            return None
        return outcome_of(prompt_id, {"outputs": self.outputs, "meta": self.meta}, [self.ending])


class HeardJob:
    """What the websocket said about one job: its prompt, and the prompts that its nodes queue.

    Attributes:
        prompt_ids: ids of the job's prompts, in the order in which they became known.
        queue_length: number of prompts of all clients in the server's queue, by its last message.
    """

    def __init__(self) -> None:
        self.prompt_ids: list[str] = []
        self.queue_length = 0
        self._prompts: dict[str, HeardPrompt] = {}

    def add(self, prompt_ids: Iterable[str]) -> None:
        """Add prompts to the job."""
        self.prompt_ids += [prompt_id for prompt_id in prompt_ids if prompt_id not in self.prompt_ids]

    def prompt(self, prompt_id: str) -> HeardPrompt:
        """What the websocket said about a prompt."""
        return self._prompts.setdefault(prompt_id, HeardPrompt())

    def note(self, frame: Text) -> bool:
        """Note what a frame says. Its data must be a dict. False if it is about another client's prompt."""
        data = frame.data
        if frame.name == "status":
            self.queue_length = _queue_length(data)
        prompt_id = data.get("prompt_id")
        if frame.name == "execution_start" and isinstance(prompt_id, str):
            self.add([prompt_id])  # The server sends this message only to the client that has queued the prompt.
        if prompt_id is None:
            return True
        if prompt_id not in self.prompt_ids:
            return False
        self.prompt(prompt_id).note(frame)
        return True


def _queue_length(data: dict[str, Any]) -> int:
    try:
        return int(data["status"]["exec_info"]["queue_remaining"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0
