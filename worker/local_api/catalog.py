"""What the local API tells of the workflows that requests run by name."""

from __future__ import annotations

from typing import Any

from worker.errors import WorkerError
from worker.job.job import Job
from worker.redact import encodable
from worker.worker import Worker
from worker.workflows.folder import StoredWorkflow
from worker.workflows.listing import settable_inputs


class Catalog:
    """The workflows of ``worker``, with the inputs that requests can set.

    Its methods read files and may ask a server, so call them on a thread.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def all(self) -> list[dict[str, Any]]:
        """Every workflow, by name."""
        return [self._entry(stored) for stored in self._worker.workflows.all()]

    def one(self, name: str) -> dict[str, Any]:
        """The workflow of this name.

        Raises:
            InvalidJob: there is none.
        """
        stored = self._worker.workflows.find(name)
        if stored is None:
            self._worker.workflows.resolved(Job("", {}, name=name))  # Raises, and says which names there are.
        return self._entry(stored) if stored is not None else {}

    def _entry(self, stored: StoredWorkflow) -> dict[str, Any]:
        try:
            job = self._worker.converted(Job("", {}, name=stored.name))
            return {"name": stored.name, "inputs": list(settable_inputs(job.workflow, self._worker.definitions()))}
        except WorkerError as error:
            return {"name": stored.name, "error": encodable(str(error))}
