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
        """The workflow of this name.

        Raises:
            InvalidJob: there is none. The text says which there are.
        """
        return self._entry(self._folder.get(name))

    def _entry(self, stored: StoredWorkflow) -> dict[str, Any]:
        try:
            job = self._converted(Job("", {}, name=stored.name))
            inputs = settable_inputs(job.workflow, self._definitions(), job.handles)
            return {"name": stored.name, "inputs": list(inputs)}
        except WorkerError as error:
            return {"name": stored.name, "error": encodable(str(error))}
