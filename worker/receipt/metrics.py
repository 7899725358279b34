"""Makes the ``metrics`` of an answer from a receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.events import title_of
from worker.receipt.receipt import NodeTime, Receipt
from worker.receipt.shape import Metrics, MetricsModels, MetricsNode, MetricsPhase
from worker.receipt.spans import total
from worker.redact import encodable

MOST_NODES = 100
_MOST_LETTERS = 100  # Of a node's id, class or title.


def metrics_of(receipt: Receipt) -> Metrics:
    """What the caller gets to know. Times are in milliseconds, sizes in bytes. What is not known is left out."""
    counts = receipt.counts
    metrics: Metrics = {
        "total_ms": _ms(receipt.seconds),
        "gpu_seconds": round(receipt.gpu_seconds, 3),
        "phases": [*_phases(receipt), *_overlaps(receipt)],
        "bytes_in": counts.bytes_in,
        "bytes_out": counts.bytes_out,
    }
    if counts.fetched_bytes:
        metrics["bytes_fetched"] = counts.fetched_bytes
    if receipt.nodes:
        metrics["start"] = "cold" if receipt.is_cold else "warm"
        _add_nodes(metrics, receipt)
    if "model_read" in receipt.spans or "model_load" in receipt.spans:
        metrics["models"] = _models(receipt)
    if counts.vram_peak is not None:
        metrics["vram_peak_bytes"] = counts.vram_peak
    return metrics


def _phases(receipt: Receipt) -> list[MetricsPhase]:
    """The phases, in the order in which they first began. Their times add up to the whole."""
    began, starts = receipt.began, dict[str, float]()
    for phase, start, _ in receipt.timeline():
        starts.setdefault(phase, start)
    return [
        {"phase": phase, "start_ms": _ms(starts[phase] - began), "ms": _ms(seconds)}
        for phase, seconds in receipt.phase_seconds().items()
    ]


def _overlaps(receipt: Receipt) -> list[MetricsPhase]:
    """What went on while the job was in another phase."""
    rows = ((name, receipt.overlaps(name)) for name in ("model_read_ahead", "encode", "upload"))
    return [
        {"phase": name, "start_ms": _ms(spans[0][0] - receipt.began), "ms": _ms(total(spans)), "overlaps": True}
        for name, spans in rows
        if spans
    ]


def _add_nodes(metrics: Metrics, receipt: Receipt) -> None:
    """Add the nodes in the order in which they began. Of many, the slowest."""
    nodes = list(receipt.nodes.items())
    if len(nodes) <= MOST_NODES:
        metrics["nodes"] = [_node(*node, receipt.workflow) for node in nodes]
    else:
        kept = sorted(sorted(range(len(nodes)), key=lambda index: -nodes[index][1].seconds)[:MOST_NODES])
        metrics["nodes"] = [_node(*nodes[index], receipt.workflow) for index in kept]
        left = set(range(len(nodes))).difference(kept)
        metrics["nodes_left_out"] = {"count": len(left), "ms": _ms(sum(nodes[index][1].seconds for index in left))}


def _node(node_id: str, node: NodeTime, workflow: Mapping[str, Any]) -> MetricsNode:
    row: MetricsNode = {
        "node_id": _short(node_id),
        "class_type": _short(node.class_type),
        "ms": _ms(node.seconds),
        "cached": node.is_cached,
    }
    if title := title_of(workflow.get(node_id)):
        row["title"] = _short(title)
    return row


def _short(text: str) -> str:
    return text if text.isascii() and len(text) <= _MOST_LETTERS else encodable(text[:_MOST_LETTERS])


def _models(receipt: Receipt) -> MetricsModels:
    """What of the execution was reading model files and bringing models to the device."""
    counts = receipt.counts
    return {
        "reads": counts.model_reads,
        "read_bytes": counts.model_bytes,
        "read_ms": _ms(total(receipt.overlaps("model_read"))),
        "load_ms": _ms(total(receipt.overlaps("model_load"))),
    }


def _ms(seconds: float) -> float:
    """Milliseconds with two places. ``round`` takes three times as long."""
    return int(100_000 * seconds + 0.5) / 100
