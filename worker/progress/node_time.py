"""``NodeTime``: how far the node is that runs, by its steps or by the time that it took before."""

from __future__ import annotations

import time

_MOST_BY_TIME = 0.95  # A node that takes longer than before waits here for its end.


class NodeTime:
    """The node that runs since this object was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        # ``(time, value)`` of the first step and of the last one, and the maximum.
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)
        self._maximum = 0.0

    def step(self, value: float, maximum: float) -> None:
        """The node is at ``value`` of ``maximum`` steps, which is above 0."""
        now = time.monotonic()
        if self._first is None or value < self._last[1] or maximum != self._maximum:  # A node may sample twice.
            self._first, self._maximum = (now, value), maximum
        self._last = (now, value)

    def part(self, usual_s: float | None) -> float:
        """How much of the node is done, 0 to 1. ``usual_s``: how long it took before; None if that is not known."""
        if self._first is not None:
            return self._last[1] / self._maximum
        if not usual_s:
            return 0.0
        return min((time.monotonic() - self._began) / usual_s, _MOST_BY_TIME)

    def seconds_left(self, usual_s: float) -> float:
        """How long the node will still run, by the time that it took before, and more and more by its steps."""
        by_steps = self.seconds_left_by_steps()
        if by_steps is None:
            return max(0.0, usual_s - (time.monotonic() - self._began))
        part = self._last[1] / self._maximum
        return part * by_steps + (1 - part) * (1 - part) * usual_s

    def seconds_left_by_steps(self) -> float | None:
        """How long the steps take that are left; None before the second one."""
        first, (at, value) = self._first, self._last
        if first is None or value <= first[1]:
            return None
        by_now = (self._maximum - value) * (at - first[0]) / (value - first[1]) - (time.monotonic() - at)
        return max(0.0, by_now)
