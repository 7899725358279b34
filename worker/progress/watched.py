"""Adds to the events of a job what its progress needs: forecasts, titles and encoded previews; learns from its run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from worker.events import Event, Listener, NodeProgress, NodesCached, NodeStarted, Preview, PromptEnded, PromptStarted
from worker.progress.graph_shape import graph_shape
from worker.progress.history import History
from worker.progress.preview_jpeg import preview_jpeg
from worker.progress.titles import node_title
from worker.settings import Settings

_log = logging.getLogger("worker")


def watched(
    workflow: Mapping[str, Any],
    on_event: Listener | None,
    settings: Settings,
    history: History,
    api_key: str | None = None,
) -> Listener | None:
    """A listener that completes the events of one job, and passes them to ``on_event``.

    Without a listener, or with ``PROGRESS_INTERVAL_S=0``, this is ``on_event`` itself, and nothing is measured.

    Args:
        workflow: the job's graph.
        on_event: the job's listener.
        settings: the worker's. No title shows one of its secrets.
        history: what earlier runs of the worker took.
        api_key: the caller's key, which no title shows either.
    """
    if on_event is None or not settings.progress_interval_s:
        return on_event
    preview_s = settings.progress_interval_s if settings.progress_previews else 0.0
    return _Watched(workflow, on_event, (api_key, *settings.secrets()), history, preview_s)


class _Watched:
    """Completes the events of one job.

    ``preview_s``: seconds between two previews; 0: there are none.
    """

    def __init__(
        self,
        workflow: Mapping[str, Any],
        on_event: Listener,
        secrets: tuple[str | None, ...],
        history: History,
        preview_s: float,
    ) -> None:
        self._workflow, self._on_event, self._secrets, self._history = workflow, on_event, secrets, history
        self._preview_s, self._previewed = preview_s, float("-inf")
        self._shape: bytes | None = None  # None before the first prompt.
        self._running: str | None = None
        self._since = 0.0
        self._seconds: dict[str, float] = {}
        self._cached: tuple[str, ...] = ()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, NodeProgress):  # There may be very many of these.
            event = self._completed(event)
        self._on_event(event)

    def _completed(self, event: Event) -> Event:
        match event:
            case PromptStarted():
                self._running, self._seconds, self._cached = None, {}, ()
                goes_on, self._shape = self._shape is not None, self._shape or graph_shape(self._workflow)
                forecast = self._history.forecast(self._shape, self._workflow)
                return replace(event, forecast=forecast, goes_on=goes_on)
            case NodesCached(node_ids=node_ids):
                self._cached = node_ids
            case NodeStarted(display_node_id=node_id):
                self._end_node(node_id)
                return replace(event, title=node_title(self._workflow, node_id, self._secrets))
            case Preview(image=image) if self._preview_s and time.monotonic() - self._previewed >= self._preview_s:
                self._previewed = time.monotonic()
                try:
                    return replace(event, jpeg=preview_jpeg(image))
                except Exception as error:  # noqa: BLE001 - a node pack made it, and the job does not need it.
                    _log.debug("A preview cannot be encoded: %r", error)
            case PromptEnded(status=status):
                self._learn(is_whole=status == "success")
            case _:
                pass
        return event

    def _end_node(self, following: str | None) -> None:
        """Note how long the node took that ran until now. Nodes of an expanded subgraph add to that of the graph."""
        now = time.monotonic()
        if self._running is not None:
            self._seconds[self._running] = self._seconds.get(self._running, 0.0) + now - self._since
        self._running, self._since = following, now

    def _learn(self, *, is_whole: bool) -> None:
        if is_whole:
            self._end_node(None)
        self._running = None
        if self._shape is not None:
            self._history.learn(self._shape, self._workflow, self._seconds, self._cached, is_whole=is_whole)
