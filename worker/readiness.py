"""Prepares a process that serves: runs the warm-up workflow, spares jobs long garbage collections, logs the start."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import time

from worker.errors import InvalidJob, StartError, WorkerError
from worker.events import Notice
from worker.job.from_python import make_job
from worker.start_steps import STEPS
from worker.worker import Worker

_log = logging.getLogger("worker")


def make_ready(worker: Worker) -> None:
    """Run the warm-up workflow, then exclude all objects that exist from garbage collection, and log the start's steps.

    Raises:
        StartError: ``WARMUP_WORKFLOW`` is no workflow, or it did not work and ``WARMUP_REQUIRED`` is set.
    """
    threading.Thread(target=_read_workflows, args=(worker,), name="workflows", daemon=True).start()
    _warm_up(worker)
    # Half a million objects exist now, and stay until the process ends. ComfyUI makes a full garbage collection every
    # ten seconds, and Python makes some in between. Each of them took 0.3 s to look at these objects, during a job.
    gc.freeze()
    _tell_steps()


def expect_warm_up(worker: Worker) -> None:
    """Begin to read the models of the warm-up workflow. Call it before ``worker`` is opened, which takes seconds."""
    path = worker.settings.warmup_workflow
    if path is not None:
        with contextlib.suppress(InvalidJob):  # ``make_ready`` raises it, with a text for the operator.
            worker.models_ahead.expect(worker.workflows.resolved(make_job(path)).workflow)


def _read_workflows(worker: Worker) -> None:
    """Read the workflows that run by name, and warn of those that cannot. A slow volume must not delay the start."""
    for text in worker.workflows.remarks():
        worker.say(Notice(text, is_warning=True))
    for stored in worker.workflows.all():
        if stored.problem is not None:
            worker.say(Notice(f"The workflow '{stored.name}' cannot run: {stored.problem}", is_warning=True))


def _warm_up(worker: Worker) -> None:
    """Run ``WARMUP_WORKFLOW``, if there is one. A failure is a warning, unless it is required: others may work."""
    path, is_required = worker.settings.warmup_workflow, worker.settings.warmup_required
    if path is None:
        if is_required:
            raise StartError("WARMUP_REQUIRED=true, but there is no workflow to warm up with: set WARMUP_WORKFLOW")
        return
    try:
        job = worker.workflows.resolved(make_job(path))
    except InvalidJob as error:
        raise StartError(f"WARMUP_WORKFLOW: {error}") from None
    worker.say(Notice("warming up"))
    start = time.perf_counter()
    with STEPS.step("warm-up"):
        try:
            errors = worker.run_job(job).errors
        except WorkerError as error:
            errors = (str(error),)
    STEPS.beside.update(worker.models_ahead.end_expected())
    if not errors:
        worker.say(Notice(f"warmed up in {time.perf_counter() - start:.1f} s"))
        return
    text = f"WARMUP_WORKFLOW failed: {'; '.join(errors)}"
    if is_required:
        raise StartError(f"{text} (WARMUP_REQUIRED=true)")
    worker.say(Notice(text, is_warning=True))


def _tell_steps() -> None:
    """Log one line about the start, if this process began with the command line."""
    total = STEPS.total()
    if total is None:
        return
    steps = {name: round(seconds, 3) for name, seconds in STEPS.shown(total).items()}
    text = f"Started in {total:.2f} s: {', '.join(f'{name} {seconds:.2f}' for name, seconds in steps.items())}"
    if STEPS.beside:
        text += f"; beside these: {', '.join(f'{name} {seconds:.2f}' for name, seconds in STEPS.beside.items())}"
    _log.info("%s", text, extra={"fields": {"start": {"total": round(total, 3), **steps, **STEPS.beside}}})
