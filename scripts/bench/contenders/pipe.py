"""``Pipe``: the child's side of the messages between the benchmark and a child, one JSON object on each line."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
from typing import Any

_PR_SET_PDEATHSIG = 1
Message = dict[str, Any]


class Pipe:
    """Uses standard input and output for messages. What other code prints goes to standard error."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), "r", encoding="utf-8")
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

    def receive(self) -> Message | None:
        """The next message; None if the benchmark has ended."""
        line = self._in.readline()
        return json.loads(line) if line else None

    def send(self, message: Message) -> None:
        """Send a message."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def die_with_parent(number: signal.Signals) -> None:
    """Let this process get the signal ``number`` when the benchmark ends, even if it is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    parent = select.poll()
    parent.register(0)
    if any(event & select.POLLHUP for _, event in parent.poll(0)):
        os._exit(1)  # The benchmark has already ended.
