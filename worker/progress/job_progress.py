"""Computes a job's progress from its events."""

from __future__ import annotations

import base64
import math
import time
from typing import Any

from worker.events import (
    Event,
    ModelLoading,
    ModelsFetching,
    NodeProgress,
    NodesCached,
    NodeStarted,
    Preview,
    PromptEnded,
    PromptStarted,
)
from worker.progress.node_time import NodeTime
from worker.progress.titles import printable
from worker.redact import encodable

_MAX_LABEL = 200
_LAST_PERCENT = 99.9  # Of a job that is not at its end.


class JobProgress:
    """How far one job is. Call it with each event, in order. Any thread may read it.

    Attributes:
        node_count: number of nodes in the workflow. 0 before the job begins.
        label: the node that runs, such as ``KSampler (3)``.
        title: what the caller calls that node; empty if the workflow has no title for it.
        steps: ``(value, maximum)`` of the node that runs, if it reports steps. The value is within 0 and the maximum.
        loading: the model that the node loads, if it loads one.
        fetching: the models that are being fetched before the job has its turn.
        preview: the newest preview as base64 of a JPEG, while the workflow runs.
    """

    def __init__(self) -> None:
        self.node_count = 0
        self.label = self.title = ""
        self.steps: tuple[float, float] | None = None
        self.loading: ModelLoading | None = None
        self.fetching: ModelsFetching | None = None
        self.preview: str | None = None
        self._began: float | None = None
        self._reached = 0.0  # The largest percentage so far.
        self._reset(PromptStarted("", 0))

    def _reset(self, event: PromptStarted) -> None:
        self.node_count, self._forecast = event.node_count, event.forecast
        self._total = sum(event.forecast.seconds.values()) if event.forecast else float(event.node_count)
        self._done: set[str] = set()
        self._done_weight = 0.0
        self._running: str | None = None
        self._node = NodeTime()
        self.steps = self.loading = self.fetching = None
        self._ended = False

    @property
    def completed(self) -> int:
        """Number of nodes that are done or cached."""
        return self.node_count if self._ended else min(len(self._done), self.node_count)

    @property
    def done_nodes(self) -> list[str]:
        """The ids of the nodes that are done or cached, sorted."""
        return sorted(map(encodable, self._done.copy()))  # A copy: another thread may add one.

    @property
    def percent(self) -> float:
        """How much of the workflow is done, 0 to 100. It never becomes smaller, and is 100 at the end only.

        Each node that is not cached counts by the time that it took before, or if none of the workflow's classes ever
        ran, the same.
        """
        if self._ended:
            self._reached = 100.0
        elif self._total > 0:
            weight = self._weight(self._running)
            part = weight * self._node.part(weight if self._forecast else None)
            now = 100 * (self._done_weight + part) / self._total
            self._reached = max(self._reached, min(now, _LAST_PERCENT))
        return self._reached

    @property
    def seconds(self) -> float:
        """How long the job has run."""
        return time.monotonic() - self._began if self._began is not None else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the workflow will still run, by earlier runs of the same graph; None if there was none."""
        if self._forecast is None or not self._forecast.is_same_graph or self._ended:
            return None
        weight = self._weight(self._running)
        others = max(0.0, self._total - self._done_weight - weight)
        return others + self._node.seconds_left(weight)

    @property
    def node_seconds_left(self) -> float | None:
        """How long the node that runs will still run, by the speed of its steps; None if that is not known."""
        return self._node.seconds_left_by_steps()

    def _weight(self, node_id: str | None) -> float:
        """What a node counts that is not done yet."""
        if node_id is None or node_id in self._done:
            return 0.0
        return self._forecast.seconds.get(node_id, 0.0) if self._forecast else 1.0

    def _finish(self, node_id: str | None) -> None:
        if node_id is not None:
            weight = self._weight(node_id)
            # In this order: a thread that reads meanwhile may find too little, but not the node twice.
            self._done.add(node_id)
            self._done_weight += weight

    def _pass_over(self, node_id: str) -> None:
        """Note that a node is cached. It takes no time in this run, so the percentage is of the others."""
        self._total -= self._weight(node_id)
        self._done.add(node_id)

    def __call__(self, event: Event) -> None:
        match event:
            case PromptStarted(goes_on=goes_on):
                if self._began is None or not goes_on:
                    self._began, self._reached = time.monotonic(), 0.0
                    self.label = self.title = ""  # A bar shows several workflows, one after the other.
                self._reset(event)
            case NodesCached(node_ids=ids):
                for node_id in ids:
                    self._pass_over(node_id)
            case NodeStarted():
                self._start(event)
            case NodeProgress(value=value, maximum=maximum) if math.isfinite(value) and math.isfinite(maximum):
                if maximum > 0:
                    self.loading, self.steps = None, (min(max(value, 0.0), maximum), maximum)
                    self._node.step(*self.steps)
            case ModelLoading(node_id=node_id) if node_id == self._running:  # It comes on a thread of its own.
                self.loading = None if event.is_over else event
            case ModelsFetching(done=done, total=total):
                self.fetching = event if done < total else None
            case Preview(jpeg=bytes() as jpeg):
                self.preview = base64.b64encode(jpeg).decode()
            case PromptEnded(status=status, is_last=is_last):
                self.preview = self.steps = self.loading = None
                if status == "success":
                    self._finish(self._running)
                    self._running, self._ended = None, is_last
            case _:
                pass

    def _start(self, event: NodeStarted) -> None:
        node_id = event.display_node_id
        if node_id != self._running:
            self._finish(self._running)
            self._node = NodeTime()  # First, so that no thread that reads meanwhile takes the old node's steps for it.
            self._running = node_id
        self.steps = self.loading = None
        self.title = event.title
        self.label = printable(encodable(f"{event.class_type} ({node_id})"[:_MAX_LABEL]))

    def report(self) -> dict[str, Any]:
        """What a caller sees of a running job. docs/progress.md describes each key; what is not known is not there."""
        steps, loading, left, preview = self.steps, self.loading, self.seconds_left, self.preview
        message, stage = self.label or "starting", "running"
        node: dict[str, Any] = {}
        if self._ended:
            message = stage = "saving"
        elif self._running is not None:
            node = {"node_id": encodable(self._running[:_MAX_LABEL])} | ({"title": self.title} if self.title else {})
        if self.fetching is not None:
            stage, (message, node) = "downloading", _download(self.fetching)
        elif loading is not None and not self._ended:
            stage, megabytes = "loading model", _megabytes(loading)
            message += f": loading model, {_of(megabytes)} MB"
            node |= megabytes
        elif steps is not None and not self._ended:
            message += f": step {steps[0]:g} of {steps[1]:g}"
            node |= {"step": _short(steps[0]), "steps": _short(steps[1])}
        return {
            "stage": stage,
            "message": message,
            "percent": math.floor(self.percent * 10) / 10,
            "completed_nodes": self.completed,
            "total_nodes": self.node_count,
            **node,
            "seconds": round(self.seconds, 1),
            **({} if left is None else {"seconds_left": round(left, 1)}),
            **({} if preview is None else {"preview": preview}),
        }


def _short(number: float) -> float:
    return int(number) if abs(number) < 1e15 and number == int(number) else number


def _megabytes(loading: ModelLoading) -> dict[str, float]:
    done = {} if loading.done is None else {"loaded_mb": round(min(loading.done, loading.total) / 1e6, 1)}
    return {**done, "model_mb": round(loading.total / 1e6, 1)}


def _download(fetching: ModelsFetching) -> tuple[str, dict[str, float]]:
    done, total = min(fetching.done, fetching.total) / 1e6, fetching.total / 1e6
    text = f"downloading models, {done:.0f} of {total:.0f} MB"
    return text, {"downloaded_mb": round(done, 1), "download_mb": round(total, 1)}


def _of(megabytes: dict[str, float]) -> str:
    return " of ".join(f"{number:.0f}" for number in megabytes.values())
