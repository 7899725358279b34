"""Computes a job's progress from its events."""

from __future__ import annotations

import math
from typing import Any

from worker.events import Event, NodeProgress, NodesCached, NodeStarted, PromptEnded, PromptStarted
from worker.redact import encodable

_MAX_LABEL = 200


class JobProgress:
    """How far one job is. Call it with each event, in order. Any thread may read it.

    Attributes:
        node_count: number of nodes in the workflow. 0 before the job begins.
        completed: number of nodes that are done or cached.
        label: the node that runs, such as ``KSampler (3)``.
        steps: ``(value, maximum)`` of the node that runs, if it reports steps.
    """

    def __init__(self) -> None:
        self.node_count = 0
        self.label = ""
        self.steps: tuple[float, float] | None = None
        self._seen: set[str] = set()
        self._running: str | None = None
        self._ended = False

    @property
    def completed(self) -> int:
        if self._ended:
            return self.node_count
        done = len(self._seen) - (self._running in self._seen)
        return min(done, self.node_count)

    @property
    def percent(self) -> float:
        """How much of the workflow is done, 0 to 100. Each node counts the same."""
        part, steps = 0.0, self.steps  # Read once, since another thread may set it to None.
        if steps is not None and steps[1] > 0 and self.completed < self.node_count:
            part = min(max(steps[0] / steps[1], 0.0), 1.0)
        return 100 * (self.completed + part) / self.node_count if self.node_count else 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case PromptStarted(node_count=count):
                self.node_count, self._ended = count, False
                self._seen.clear()  # This may be a second prompt, which a node has queued.
            case NodesCached(node_ids=ids):
                self._seen.update(ids)
            case NodeStarted(display_node_id=node_id, class_type=class_type):
                self._seen.add(node_id)
                self._running, self.steps = node_id, None
                self.label = encodable(f"{class_type} ({node_id})"[:_MAX_LABEL])
            case NodeProgress(value=value, maximum=maximum) if math.isfinite(value) and math.isfinite(maximum):
                self.steps = (value, maximum)
            case PromptEnded(status="success"):
                self._running, self.steps, self._ended = None, None, True
            case _:
                pass

    def report(self) -> dict[str, Any]:
        """What a caller sees of a running job: ``message``, ``percent``, ``stage`` and the counts of nodes."""
        message, steps = self.label or "starting", self.steps
        if steps is not None:
            message += f": step {steps[0]:g} of {steps[1]:g}"
        return {
            "stage": "saving" if self._ended else "running",
            "message": "saving" if self._ended else message,
            "percent": round(self.percent, 1),
            "completed_nodes": self.completed,
            "total_nodes": self.node_count,
        }
