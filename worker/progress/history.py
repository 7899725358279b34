"""Remembers how long nodes took in earlier runs of this process, and foretells from it how long they will take."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.events import Forecast

_MOST_NODES = 50_000  # Of all graphs together. A node needs some hundred bytes.
_MOST_CLASSES = 2000
_LONGEST_ID = 64  # Characters. Callers choose the ids of nodes, so a longer one is not kept, only its digest.
_SHORTEST_S = 0.001  # So that a graph of nodes that take no time has a length as well.


@dataclass
class _Mean:
    """A mean in which newer values weigh more. The first value is forgotten, since a first run also loads models."""

    seconds: float
    count: int = 1

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds = seconds if self.count == 2 else (self.seconds + seconds) / 2


@dataclass
class _Graph:
    """``ran``: the nodes that ran, by their key. ``cached``: those that were served from the cache and never ran."""

    ran: dict[str, _Mean] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.ran) + len(self.cached) + 1


class History:
    """How long nodes took, by the shape of their graph and by their class. Any thread may use it.

    It is bounded: graphs and classes that were not run for long are forgotten first. It holds digests, ids of nodes
    and names of classes, and nothing else of what callers sent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._graphs: OrderedDict[bytes, _Graph] = OrderedDict()
        self._classes: OrderedDict[str, _Mean] = OrderedDict()
        self._size = 0

    def forecast(self, shape: bytes, workflow: Mapping[str, Any]) -> Forecast | None:
        """How long each node of ``workflow`` will take; None if neither the graph nor a class of it ever ran."""
        with self._lock:
            graph = self._graphs.get(shape)
            known = {node_id: self._known(graph, node_id, node) for node_id, node in workflow.items()}
        values = [seconds for seconds in known.values() if seconds is not None]
        if not values:
            return None
        usual = sum(values) / len(values)
        seconds = {node_id: max(_SHORTEST_S, usual if it is None else it) for node_id, it in known.items()}
        return Forecast(seconds, is_same_graph=graph is not None)

    def _known(self, graph: _Graph | None, node_id: str, node: Mapping[str, Any]) -> float | None:
        if graph is not None:
            key = _key(node_id)
            if (mean := graph.ran.get(key)) is not None:
                return mean.seconds
            if key not in graph.cached:
                return 0.0  # No output needs it.
        of_class = self._classes.get(str(node.get("class_type")))
        return of_class.seconds if of_class else None

    def learn(
        self,
        shape: bytes,
        workflow: Mapping[str, Any],
        seconds: Mapping[str, float],
        cached: Collection[str],
        *,
        is_whole: bool,
    ) -> None:
        """Note a run.

        Args:
            shape: the digest of ``workflow``.
            workflow: the graph.
            seconds: how long each node took that ran to its end, by its id.
            cached: ids of the nodes that did not run, since ComfyUI had their results.
            is_whole: whether the graph ran to its end.
        """
        with self._lock:
            for node_id in seconds.keys() & workflow.keys():
                _add(self._classes, str(workflow[node_id].get("class_type")), seconds[node_id])
            while len(self._classes) > _MOST_CLASSES:
                self._classes.popitem(last=False)
            if is_whole and len(workflow) <= _MOST_NODES // 10:
                ran = {_key(node_id): seconds[node_id] for node_id in seconds.keys() & workflow.keys()}
                self._learn_graph(shape, ran, (_key(node_id) for node_id in cached if node_id in workflow))

    def _learn_graph(self, shape: bytes, seconds: Mapping[str, float], cached: Iterable[str]) -> None:
        graph = self._graphs.pop(shape, None)
        if graph is None:
            graph = _Graph()
        else:
            self._size -= len(graph)
        for node_id, taken in seconds.items():
            _add(graph.ran, node_id, taken)
        graph.cached |= set(cached)
        graph.cached -= graph.ran.keys()
        self._graphs[shape] = graph
        self._size += len(graph)
        while self._size > _MOST_NODES:
            _, oldest = self._graphs.popitem(last=False)
            self._size -= len(oldest)


def _key(node_id: str) -> str:
    if len(node_id) <= _LONGEST_ID:
        return node_id
    return hashlib.blake2b(node_id.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def _add(means: dict[str, _Mean], key: str, seconds: float) -> None:
    mean = means.pop(key, None)
    if mean is None:
        mean = _Mean(seconds)
    else:
        mean.add(seconds)
    means[key] = mean  # At the end, since the first ones are forgotten first.
