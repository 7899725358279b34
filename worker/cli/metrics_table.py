"""Prints the metrics of a run as a table: ``run --metrics``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_BAR = 30  # Letters of the longest bar.
_MOST_NODES = 20


def print_metrics(metrics: Mapping[str, Any], console: Console) -> None:
    """Print where the time of a run went: its phases, its slowest nodes, and what it used."""
    total_ms = metrics["total_ms"]
    phases = _table("phase", "ms", "share")
    for row in metrics["phases"]:
        beside = " (beside the others)" if row.get("overlaps") else ""
        phases.add_row(escape(row["phase"]) + beside, f"{row['ms']:,.1f}", _bar(row["ms"], total_ms))
    phases.add_row("total", f"{total_ms:,.1f}", "", style="bold")
    console.print(phases)
    if "nodes" in metrics:
        nodes = _table("node", "ms", "share")
        for node in sorted(metrics["nodes"], key=lambda node: -node["ms"])[:_MOST_NODES]:
            took = "cached" if node["cached"] else f"{node['ms']:,.1f}"
            nodes.add_row(escape(_name(node)), took, _bar(node["ms"], total_ms))
        console.print(nodes)
    for line in _lines(metrics):
        console.print(line, highlight=False, markup=False)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column == "ms" else "left")
    return table


def _bar(part: float, whole: float) -> str:
    share = part / whole if whole else 0.0
    return f"{'█' * round(_BAR * min(share, 1.0))} {share:.0%}"


def _name(node: Mapping[str, Any]) -> str:
    title = node.get("title", "")
    name = f"{node['node_id']} {node['class_type']}"
    return name if title in ("", node["class_type"]) else f"{name} ({title})"


def _lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    if hidden := sorted((node["ms"] for node in metrics.get("nodes", ())), reverse=True)[_MOST_NODES:]:
        left = metrics.get("nodes_left_out", {"count": 0, "ms": 0.0})
        yield f"{len(hidden) + left['count']} more nodes took {sum(hidden) + left['ms']:,.1f} ms together"
    if models := metrics.get("models"):
        yield (
            f"models: {models['reads']} file(s), {models['read_bytes'] / 1e6:,.1f} MB, read in "
            f"{models['read_ms']:,.1f} ms; brought to the device in {models['load_ms']:,.1f} ms"
        )
    yield f"files: {metrics['bytes_in'] / 1e6:,.2f} MB in, {metrics['bytes_out'] / 1e6:,.2f} MB out"
    sizes = {"VRAM": metrics.get("vram_peak_bytes"), "RSS": metrics.get("rss_peak_bytes")}
    if peaks := [f"{name} {size / 1e6:,.0f} MB" for name, size in sizes.items() if size is not None]:
        yield f"at most: {', '.join(peaks)}"
    cost = f", cost {metrics['cost']:.6f}" if "cost" in metrics else ""
    yield f"GPU seconds: {metrics['gpu_seconds']:.3f}{cost}"
