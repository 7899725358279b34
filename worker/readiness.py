"""Prepares a process that serves: runs the warm-up workflow, and spares the jobs long garbage collections."""

from __future__ import annotations

import contextlib
import gc
import time

from worker.errors import InvalidJob, StartError, WorkerError
from worker.events import Notice
from worker.job.from_python import make_job
from worker.worker import Worker


def make_ready(worker: Worker) -> None:
    """Run the warm-up workflow, then exclude all objects that exist from garbage collection.

    Raises:
        StartError: ``WARMUP_WORKFLOW`` is no workflow.
    """
    _warm_up(worker)
    # Half a million objects exist now, and stay until the process ends. ComfyUI makes a full garbage collection every
    # ten seconds, and Python makes some in between. Each of them took 0.3 s to look at these objects, during a job.
    gc.freeze()


def expect_warm_up(worker: Worker) -> None:
    """Begin to read the models of the warm-up workflow. Call it before ``worker`` is opened, which takes seconds."""
    path = worker.settings.warmup_workflow
    if path is not None:
        with contextlib.suppress(InvalidJob):  # ``make_ready`` raises it, with a text for the operator.
            worker.models_ahead.expect(make_job(path).workflow)


def _warm_up(worker: Worker) -> None:
    """Run ``WARMUP_WORKFLOW``, if there is one. A failure is only a warning, since other workflows may work."""
    path = worker.settings.warmup_workflow
    if path is None:
        return
    try:
        job = make_job(path)
    except InvalidJob as error:
        raise StartError(f"WARMUP_WORKFLOW: {error}") from None
    worker.say(Notice("warming up"))
    start = time.perf_counter()
    try:
        errors = worker.run_job(job).errors
    except WorkerError as error:
        errors = (str(error),)
    worker.models_ahead.end_expected()
    if errors:
        worker.say(Notice(f"WARMUP_WORKFLOW failed: {'; '.join(errors)}", is_warning=True))
    else:
        worker.say(Notice(f"warmed up in {time.perf_counter() - start:.1f} s"))
