"""A child's end of the pipe to the benchmark: one JSON object a line."""

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
    """Takes standard input and output for itself. What other code prints goes to standard error."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), "r", encoding="utf-8")
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

    def receive(self) -> Message | None:
        """The next message; None where the benchmark has ended."""
        line = self._in.readline()
        return json.loads(line) if line else None

    def send(self, message: Message) -> None:
        """Send a message."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def die_with_parent(number: signal.Signals) -> None:
    """Get the signal ``number`` when the benchmark ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    parent = select.poll()
    parent.register(0)
    if any(event & select.POLLHUP for _, event in parent.poll(0)):
        os._exit(1)  # It has ended already.
