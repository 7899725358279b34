"""Copies a job's graph for ComfyUI, and builds the job's result from the outcomes of its prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from worker.engine.graph_run import GraphRun, RunResult, Status
from worker.errors import JobInterrupted
from worker.protocol.prompt_outcome import NodeFailure, PromptOutcome
from worker.protocol.rejection import explain_nodes
from worker.redact import public_text


def dropped_lines(node_errors: Mapping[str, Any], run: GraphRun) -> list[str]:
    """A line for each problem of outputs that validation dropped, while it accepted other outputs."""
    return [f"Output dropped by validation: {public_text(line, [run.api_key])}" for line in explain_nodes(node_errors)]


def make_result(run: GraphRun, outcomes: Sequence[PromptOutcome], errors: Iterable[str]) -> RunResult:
    """Build a job's result from the outcomes of its prompts. Its error lines begin with ``errors``."""
    outputs: dict[str, list[dict[str, Any]]] = {}
    for outcome in outcomes:
        for node_id, output in outcome.outputs.items():
            # A node of an expanded subgraph gets the id of the node that the user sees.
            seen_as = node_id if node_id in run.workflow else outcome.display_ids.get(node_id, node_id)
            outputs.setdefault(seen_as, []).append(output)
    order = {node_id: index for index, node_id in enumerate(run.workflow)}
    lines = [*errors, *(_failure_line(o.failure, run.api_key) for o in outcomes if o.failure)]
    lines += [f"An image could not be saved: {public_text(line)}" for outcome in outcomes for line in outcome.unsaved]
    statuses = [outcome.status for outcome in outcomes]
    status = next((status for status in ("interrupted", "error") if status in statuses), "success")
    if status == "interrupted":
        lines.append(str(JobInterrupted()))
    return RunResult(
        run,
        cast(Status, status),
        dict(sorted(outputs.items(), key=lambda item: order.get(item[0], len(order)))),
        tuple(lines),
        (*run.warnings, *(public_text(line) for outcome in outcomes for line in outcome.warnings)),
        {node_id: paths for outcome in outcomes for node_id, paths in outcome.unnamed.items()},
    )


def _failure_line(failure: NodeFailure, api_key: str | None) -> str:
    message = public_text(failure.message, [api_key]) or failure.exception_type
    return f"Workflow execution error: Node Type: {failure.node_type}, Node ID: {failure.node_id}, Message: {message}"
