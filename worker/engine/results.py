"""Copies a job's graph for ComfyUI, and builds the job's result from the outcomes of its prompts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
    lines = explain_nodes(node_errors, run.workflow, run.staged, installed, run.origins)
    return [f"Output dropped by validation: {run.public(line)}" for line in lines]


def refuse_unchecked_links(run: GraphRun, installed: Installed) -> None:
    """Look at what ComfyUI's validation leaves out, and breaks on later.

    Raises:
        WorkflowRejected: a link leads to a node that is not there.
    """
    lost = list(unchecked_links(run.workflow, installed))
    if lost:
        text = refusal([*missing_classes(run.workflow, installed, run.origins), *lost])
        raise WorkflowRejected(run.public(text, max_length=20_000))


def dropped_outputs(node_errors: Mapping[str, Any]) -> set[str]:
    """The output nodes that validation dropped, by its errors for each node."""
    dependent = (error.get("dependent_outputs") for error in node_errors.values() if isinstance(error, Mapping))
    return {str(node_id) for node_ids in dependent if isinstance(node_ids, list) for node_id in node_ids}


def make_result(
    run: GraphRun,
    outcomes: Sequence[PromptOutcome],
    errors: Iterable[str],
    installed: Installed | None = None,
    dropped: Collection[str] = (),
) -> RunResult:
    """Build a job's result from the outcomes of its prompts.

    Args:
        run: the job's run.
        outcomes: those of its prompts.
        errors: the first lines of the result's errors.
        installed: what this ComfyUI has, to tell why a node may have raised, and which nodes should give something.
        dropped: output nodes that validation dropped.
    """
    outputs: dict[str, list[dict[str, Any]]] = {}
    unnamed: dict[str, list[str]] = {}
    for outcome in outcomes:
        for node_id, output in (*outcome.outputs.items(), *_as_ui(outcome.sent)):
            outputs.setdefault(_seen_as(node_id, outcome, run), []).append(output)
        for node_id, paths in outcome.unnamed.items():
            unnamed.setdefault(_seen_as(node_id, outcome, run), []).extend(paths)
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
        unnamed,
        shows=_shows(run, outcomes, installed, dropped) if status == "success" and installed is not None else {},
        ui={node_id: output for outcome in outcomes for node_id, output in outcome.outputs.items()},
    )


def _shows(
    run: GraphRun, outcomes: Iterable[PromptOutcome], installed: Installed, dropped: Collection[str]
) -> dict[str, str]:
    told = {*dropped, *(outcome.failure.node_id for outcome in outcomes if outcome.failure)}
    classes = {node_id: str(node["class_type"]) for node_id, node in run.workflow.items() if node_id not in told}
    return {node_id: class_type for node_id, class_type in classes.items() if installed.is_output(class_type)}


def _as_ui(sent: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((node_id, {"images": list(entries)}) for node_id, entries in sent.items())


def _seen_as(node_id: str, outcome: PromptOutcome, run: GraphRun) -> str:
    """The id of the workflow's node that a node belongs to, which is another one in an expanded subgraph."""
    return node_id if node_id in run.workflow else outcome.display_ids.get(node_id, node_id)


def _failure_line(failure: NodeFailure, run: GraphRun, installed: Installed | None) -> str:
    message = run.public(failure.message) or failure.exception_type
    node = run.workflow.get(failure.node_id)
    reasons = list(useless_values(node, run.staged, installed)) if node is not None and installed is not None else []
    if reasons:
        message = f"{message} ({run.public('; '.join(reasons))})"
    return f"Workflow execution error: Node Type: {failure.node_type}, Node ID: {failure.node_id}, Message: {message}"
