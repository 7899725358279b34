"""Turns messages of the embedded ComfyUI into events. Binary messages have a number as name, and unencoded images."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from worker.embedded.runtime import Runtime
from worker.engine.turn import Turn
from worker.events import Event, Message, Preview
from worker.protocol.messages import tell, translate
from worker.protocol.prompt_outcome import NodeFailure, PromptOutcome, blocked


def translate_inner(name: Any, data: Any, graph: Mapping[str, Any]) -> Event | None:
    """``worker.protocol.messages.translate`` that also takes the binary messages of ``PromptServer.send_sync``.

    Args:
        name: the message's name, or the number of a binary message.
        data: its payload.
        graph: the running workflow.
    """
    if isinstance(name, str):
        return translate(name, data, graph)
    try:
        return _binary(name, data)
    except (AttributeError, LookupError, TypeError, ValueError):
        # A node pack sent its own data under one of ComfyUI's numbers.
        return Message(str(name), data)


def _binary(number: Any, data: Any) -> Event:
    kinds = importlib.import_module("protocol").BinaryEventTypes
    if number == kinds.PREVIEW_IMAGE_WITH_METADATA:
        (_, image, _), metadata = data
        return Preview(metadata.get("node_id"), image)
    if number == kinds.UNENCODED_PREVIEW_IMAGE:
        return Preview(None, data[1])
    return Message(next((name for name, value in vars(kinds).items() if value == number), str(number)), data)


class Messages:
    """Listens to ComfyUI while a run has its turn: passes events on, and repeats an interrupt that came too early.

    Args:
        runtime: the running ComfyUI.
        turn: the run.
        on_message: called for each message of the thread that runs the graph.
    """

    def __init__(self, runtime: Runtime, turn: Turn, on_message: Callable[[], None]) -> None:
        self._runtime = runtime
        self._turn = turn
        self._on_message = on_message
        self._thread = threading.get_ident()
        self.blocked: list[PromptOutcome] = []

    def __call__(self, name: Any, data: Any) -> None:
        if name == "execution_start" and self._turn.interrupted:
            # The executor has just cleared the flag that an earlier interrupt had set.
            self._runtime.prompts.interrupt()
        if (outcome := blocked(name, data)) is not None:
            self.blocked.append(outcome)
        if threading.get_ident() == self._thread:  # A pack's monitor tells nothing of the node that runs.
            self._on_message()
            if name == "execution_error" and isinstance(data, dict):  # Perhaps of what ComfyUI did after the node.
                self._runtime.memory.fault(NodeFailure.of(data))
        if self._turn.run.on_event is not None:
            tell(self._turn.run.on_event, translate_inner(name, data, self._turn.run.workflow))
