"""Tells which workflows run by name, and what requests can set in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker.convert.node.definitions import Definitions
from worker.errors import WorkerError
from worker.job.job import Job
from worker.redact import encodable
from worker.workflows.folder import StoredWorkflow, WorkflowFolder
from worker.workflows.listing import settable_inputs
from worker.workflows.nodes import nodes_of


class Catalog:
    """The workflows of a folder, as callers see them.

    Its methods read files and may ask a server, so call them on a thread.

    Args:
        folder: where the files are.
        converted: gives a job its API graph.
        definitions: what the node classes declare.
    """

    def __init__(
        self, folder: WorkflowFolder, converted: Callable[[Job], Job], definitions: Callable[[], Definitions]
    ) -> None:
        self._folder, self._converted, self._definitions = folder, converted, definitions

    def all(self) -> list[dict[str, Any]]:
        """Every workflow, by name."""
        return [self._entry(stored) for stored in self._folder.all()]

    def one(self, name: str) -> dict[str, Any]:
        """The workflow of this name, with its nodes.

        Raises:
            InvalidJob: there is none. The text says which there are.
        """
        return self._entry(self._folder.get(name), with_nodes=True)

    def described(self, job: Job, *, with_nodes: bool = True) -> dict[str, Any]:
        """What requests can set in the workflow of ``job``, and its nodes.

        Raises:
            WorkerError: the workflow cannot be converted, or does not take the values that ``job`` sets.
        """
        job, definitions = self._converted(job), self._definitions()
        inputs = list(settable_inputs(job.workflow, definitions, job.handles))
        return {"inputs": inputs, **({"nodes": nodes_of(job.workflow, definitions)} if with_nodes else {})}

    def _entry(self, stored: StoredWorkflow, *, with_nodes: bool = False) -> dict[str, Any]:
        try:
            return {"name": stored.name, **self.described(Job("", {}, name=stored.name), with_nodes=with_nodes)}
        except WorkerError as error:
            return {"name": stored.name, "error": encodable(str(error))}
