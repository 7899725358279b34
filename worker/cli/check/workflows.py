"""The part of ``python -m worker check`` about the workflows that requests run by name."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.engine.node_policy import NodePolicy
from worker.errors import WorkerError
from worker.job.job import Job
from worker.worker import Worker
from worker.workflows.folder import StoredWorkflow
from worker.workflows.listing import absent_choices, settable_inputs


def print_workflows(console: Console, worker: Worker, policy: NodePolicy) -> bool:
    """Print each workflow, with what is wrong with it. Returns whether all of them can run.

    Args:
        console: where they are printed.
        worker: it is open, and permits all node classes.
        policy: which node classes jobs may use.
    """
    remarks, problems = list(worker.workflows.remarks()), list[str]()
    table = Table("Workflow", "Inputs", "", title="Workflows by name", title_justify="left", show_edge=False)
    for stored in worker.workflows.all():
        problem, inputs, absent = _examine(worker, policy, stored)
        problems += [f"{stored.name}: {problem}"] if problem else []
        table.add_row(escape(stored.name), "" if problem else str(inputs), "[red]FAILED[/]" if problem else "ok")
        remarks += [f"{stored.name}: {line}" for line in absent]
    if table.row_count:
        console.print()
        console.print(table)
    for text in problems:
        console.print(text, style="red", markup=False)
    for text in remarks:
        console.print(f"warning: {text}", style="dim", markup=False)
    return not problems


def _examine(worker: Worker, policy: NodePolicy, stored: StoredWorkflow) -> tuple[str | None, int, list[str]]:
    """What is wrong with a workflow, how many inputs can be set, and which of its values are no choices here."""
    try:
        job, definitions = worker.converted(Job("", {}, name=stored.name)), worker.definitions()
        workflow = job.workflow
        missing = [
            f"Node {node_id} ({node['class_type']}): {definitions.why_missing(node['class_type'])}"
            for node_id, node in workflow.items()
            if definitions.find(node["class_type"]) is None
        ]
        if missing:
            return "; ".join(missing), 0, []
        policy.check(workflow, worker.runtime.runs_as if worker.runtime else str)
        return (
            None,
            _count(settable_inputs(workflow, definitions, job.handles)),
            list(absent_choices(workflow, definitions)),
        )
    except WorkerError as error:
        return str(error), 0, []


def _count(inputs: Iterator[object]) -> int:
    return sum(1 for _ in inputs)
