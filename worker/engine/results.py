"""Copies a job's graph for ComfyUI, and builds the job's result from the outcomes of its prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from worker.engine.graph_run import GraphRun, RunResult, Status
from worker.errors import JobInterrupted, WorkflowRejected
from worker.protocol.installed import Installed
from worker.protocol.links import unchecked_links
from worker.protocol.missing_classes import missing_classes
from worker.protocol.prompt_outcome import NodeFailure, PromptOutcome
from worker.protocol.raised import useless_values
from worker.protocol.rejection import explain_nodes, refusal


def dropped_lines(node_errors: Mapping[str, Any], run: GraphRun, installed: Installed) -> list[str]:
    """A line for each problem of outputs that validation dropped, while it accepted other outputs."""
    lines = explain_nodes(node_errors, run.workflow, run.staged, installed)
    return [f"Output dropped by validation: {run.public(line)}" for line in lines]


def refuse_unchecked_links(run: GraphRun, installed: Installed) -> None:
    """Look at what ComfyUI's validation leaves out, and breaks on later.

    Raises:
        WorkflowRejected: a link leads to a node that is not there.
    """
    lost = list(unchecked_links(run.workflow, installed))
    if lost:
        text = refusal([*missing_classes(run.workflow, installed), *lost])
        raise WorkflowRejected(run.public(text, max_length=20_000))


def make_result(
    run: GraphRun, outcomes: Sequence[PromptOutcome], errors: Iterable[str], installed: Installed | None = None
) -> RunResult:
    """Build a job's result from the outcomes of its prompts. Its error lines begin with ``errors``.

    ``installed``: what this ComfyUI has, to tell why a node may have raised.
    """
    outputs: dict[str, list[dict[str, Any]]] = {}
    for outcome in outcomes:
        for node_id, output in outcome.outputs.items():
            # A node of an expanded subgraph gets the id of the node that the user sees.
            seen_as = node_id if node_id in run.workflow else outcome.display_ids.get(node_id, node_id)
            outputs.setdefault(seen_as, []).append(output)
    order = {node_id: index for index, node_id in enumerate(run.workflow)}
    lines = [*errors, *(_failure_line(o.failure, run, installed) for o in outcomes if o.failure)]
    lines += [f"An image could not be saved: {run.public(line)}" for outcome in outcomes for line in outcome.unsaved]
    statuses = [outcome.status for outcome in outcomes]
    status = next((status for status in ("interrupted", "error") if status in statuses), "success")
    if status == "interrupted":
        lines.append(str(JobInterrupted()))
    return RunResult(
        run,
        cast(Status, status),
        dict(sorted(outputs.items(), key=lambda item: order.get(item[0], len(order)))),
        tuple(lines),
        (*run.warnings, *(run.public(line) for outcome in outcomes for line in outcome.warnings)),
        {node_id: paths for outcome in outcomes for node_id, paths in outcome.unnamed.items()},
    )


def _failure_line(failure: NodeFailure, run: GraphRun, installed: Installed | None) -> str:
    message = run.public(failure.message) or failure.exception_type
    node = run.workflow.get(failure.node_id)
    reasons = list(useless_values(node, run.staged, installed)) if node is not None and installed is not None else []
    if reasons:
        message = f"{message} ({run.public('; '.join(reasons))})"
    return f"Workflow execution error: Node Type: {failure.node_type}, Node ID: {failure.node_id}, Message: {message}"
