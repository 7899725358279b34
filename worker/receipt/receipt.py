"""``Receipt``: what was measured of one job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.events import Event, Listener, NodesCached, NodeStarted, PromptEnded, PromptStarted
from worker.receipt.phases import IN_TURN, RANK, Phase
from worker.receipt.resident import PeakMemory
from worker.receipt.spans import Span, beside

_any_has_run = False


@dataclass
class NodeTime:
    """A node of the workflow, or a node that such a one has expanded into: its seconds, and whether it was cached."""

    class_type: str
    seconds: float = 0.0
    is_cached: bool = False


@dataclass
class Counts:
    """Bytes and numbers of one job.

    ``bytes_in``: its input files, decoded. ``bytes_out``: the files in its answer or its bucket. ``bucket_errors``:
    files that could not be stored. ``model_reads``, ``model_bytes``: model files that ComfyUI has read, and their size.
    ``fetched_bytes``: models that were fetched for it. ``vram_peak``: the most that was allocated on the CUDA device at
    once; None without one.
    """

    bytes_in: int = 0
    bytes_out: int = 0
    bucket_errors: int = 0
    model_reads: int = 0
    model_bytes: int = 0
    fetched_bytes: int = 0
    vram_peak: int | None = None


@dataclass(eq=False)
class Receipt:
    """The times of one job, by ``time.perf_counter``, and its counts.

    Attributes:
        marks: when each phase began. A phase lasts until the next one begins.
        spans: what went on beside the phases, or is a part of one: by name, from when until when.
        nodes: the nodes that ran or were cached, by the id of the workflow's node, in their order.
        is_cold: whether the job's graph is the first that this process runs.
        ended: when the answer was complete; None before.
    """

    began: float = field(default_factory=time.perf_counter)
    marks: list[tuple[Phase, float]] = field(default_factory=list)
    spans: dict[str, list[Span]] = field(default_factory=dict)
    nodes: dict[str, NodeTime] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    workflow: Mapping[str, Any] = field(default_factory=dict, repr=False)
    memory: PeakMemory = field(default_factory=PeakMemory)
    is_cold: bool = False
    ended: float | None = None
    _timeline: list[tuple[Phase, float, float]] | None = None
    _node: NodeTime | None = None
    _node_began: float = 0.0

    def __post_init__(self) -> None:
        self.marks.append(("parse", self.began))

    @property
    def phase(self) -> Phase:
        """The phase in which the job is."""
        return self.marks[-1][0]

    def enter(self, phase: Phase) -> None:
        """Note that ``phase`` begins. A phase that is over by now does not begin again.

        A node that does not stop may go on when its job has been answered.
        """
        current = self.phase
        if phase != current and RANK[phase] >= RANK[current] and self.ended is None:
            if current == "execution":
                self._node_ends()
            self.marks.append((phase, time.perf_counter()))

    def note(self, name: str, began: float, ended: float) -> None:
        """Note that something went on from ``began`` to ``ended``, by ``time.perf_counter``. Any thread may call it."""
        self.spans.setdefault(name, []).append((began, ended))

    def end(self) -> None:
        """Note that the answer is complete. A second call does nothing."""
        if self.ended is None:
            self.ended = time.perf_counter()

    def follow(self, workflow: Mapping[str, Any], bytes_in: int, listener: Listener | None) -> Listener:
        """The job's graph and files are ready. Returns a listener that notes the times of nodes.

        It passes each event to ``listener``.
        """
        self.workflow, self.counts.bytes_in = workflow, bytes_in

        def hear(event: Event) -> None:
            self.hear(event)
            if listener is not None:
                listener(event)

        return hear

    def hear(self, event: Event) -> None:
        """Note what an event tells of the times of nodes."""
        match event:
            case NodeStarted(display_node_id=node_id, class_type=class_type):
                now = self._node_ends()
                self._node = self.nodes.setdefault(node_id, NodeTime(class_type))
                self._node.is_cached, self._node_began = False, now
                self.memory.look()
            case NodesCached(node_ids=ids):
                for node_id in ids:
                    self.nodes.setdefault(node_id, NodeTime(self._class_of(node_id), is_cached=True))
            case PromptStarted():
                self._prompt_starts()
            case PromptEnded():
                self.memory.look()
                self.enter("collection")

    def _prompt_starts(self) -> None:
        global _any_has_run
        self.is_cold, _any_has_run = self.is_cold or not _any_has_run, True
        if not self.memory.peak:
            self.memory.begin()
        self.enter("execution")

    def _node_ends(self) -> float:
        now = time.perf_counter()
        if self._node is not None:
            self._node.seconds += now - self._node_began
            self._node = None
        return now

    def _class_of(self, node_id: str) -> str:
        node = self.workflow.get(node_id)
        return str(node.get("class_type", "")) if isinstance(node, Mapping) else ""

    @property
    def seconds(self) -> float:
        """From the begin until the end, or until now."""
        return (time.perf_counter() if self.ended is None else self.ended) - self.began

    @property
    def gpu_seconds(self) -> float:
        """How long the job had its turn, so that no other job could use the GPU."""
        return sum(end - start for phase, start, end in self.timeline() if phase in IN_TURN)

    def timeline(self) -> list[tuple[Phase, float, float]]:
        """Each phase with its begin and its end, in order. They follow each other without a gap."""
        if self._timeline is None:
            found = self._timed()
            self._timeline = found if self.ended is not None else None
            return found
        return self._timeline

    def _timed(self) -> list[tuple[Phase, float, float]]:
        last = self.began + self.seconds
        ends = [start for _, start in self.marks[1:]] + [last]
        return [(phase, start, max(start, end)) for (phase, start), end in zip(self.marks, ends, strict=True)]

    def phase_seconds(self) -> dict[Phase, float]:
        """The seconds of each phase, in the order in which they first began."""
        found: dict[Phase, float] = {}
        for phase, start, end in self.timeline():
            found[phase] = found.get(phase, 0.0) + end - start
        return found

    def overlaps(self, name: str) -> list[Span]:
        """When ``name`` went on while the job was in a phase of another name. The spans do not overlap each other."""
        spans = self.spans.get(name)
        if not spans:
            return []
        own = [(start, end) for phase, start, end in self.timeline() if phase == name]
        return beside(spans, own, (self.began, self.began + self.seconds))
