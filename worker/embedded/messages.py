"""Turns messages of the embedded ComfyUI into events. Binary messages have a number as name, and unencoded images."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from worker.events import Event, Message, Preview
from worker.protocol.messages import translate


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
