"""``Worker``, which starts ComfyUI and runs workflows for Python code, the command line and the handler."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from functools import partial
from os import PathLike
from typing import Any

from PIL import Image

from worker.answer.outputs import collect
from worker.answer.result import Result, measured_run
from worker.convert.node.definitions import Definitions
from worker.embedded.backend import EmbeddedBackend
from worker.embedded.read_ahead import ModelsAhead
from worker.embedded.reviewed.switch import refuse_for_server, reviewed_policy
from worker.embedded.runtime import Runtime
from worker.embedded.start.boot import boot
from worker.engine.freeze import FreezeWatch
from worker.engine.graph_run import Backend, RunResult
from worker.engine.life import Life
from worker.engine.memory_limits import MemoryLimits
from worker.engine.node_policy import NodePolicy
from worker.engine.pending_run import OnFile, PendingRun, Stop, begun_on_thread
from worker.engine.prepare import prepare_run, with_api_graph
from worker.engine.time_limits import Patience
from worker.engine.workspace import StateFolder, process_state
from worker.errors import StartError
from worker.events import Listener, Say
from worker.job.from_python import ImageSource, make_job
from worker.job.job import Job
from worker.logs import log_notice
from worker.models.diagnosis import log_volume
from worker.on_demand.models_on_demand import ModelsOnDemand
from worker.progress.history import History
from worker.progress.watched import watched
from worker.receipt.reports import Reports
from worker.settings import Settings, load_settings
from worker.start_steps import STEPS
from worker.workflows.folder import WorkflowFolder

__all__ = ["Listener", "Worker"]

_start_lock = threading.Lock()


class Worker:
    """Runs ComfyUI workflows in this process::

        with Worker() as worker:
            result = worker.run("workflow.json", images={"in.png": "photo.png"})
            result.images[0].show()

    A process has one ComfyUI. The first Worker starts it, and it runs until the process ends. Only one Worker can be
    open at a time. With ``COMFY_BACKEND=websocket`` ComfyUI is a server elsewhere, and several Workers can be open.

    Args:
        settings: default: the environment's, with ComfyUI's log at WARNING unless ``COMFY_LOG_LEVEL`` is set.
        say: called with a ``worker.events.Notice`` for each step of the start and each warning. Default: the log.
    """

    _open: Backend | None = None

    def __init__(self, settings: Settings | None = None, *, say: Say | None = None) -> None:
        self.settings = settings or load_settings().quiet()
        self.say = say or log_notice
        self._policy = NodePolicy(self.settings.node_allowlist, self.settings.node_denylist)
        self._backend: Backend | None = None
        self.runtime: Runtime | None = None
        self.models_ahead = ModelsAhead(self.settings)
        self.on_demand = ModelsOnDemand(self.settings)
        self.workflows = WorkflowFolder(self.settings)
        self._history = History()
        self.life = Life()
        self.freeze = FreezeWatch(self.settings.freeze_timeout_s)

    def start(self) -> Worker:
        """Start ComfyUI, unless it already runs in this process, or connect to the server that runs it.

        ComfyUI is imported on the calling thread. Call this on the main thread, with or without a running event loop:
        node packs that handle signals cannot be imported elsewhere. A loop that runs there stands still meanwhile.

        Raises:
            StartError: ComfyUI cannot start or does not answer, or another Worker is open.
        """
        if self._backend is not None:
            raise StartError("This Worker is open already")
        # Pillow refuses pictures of more than twice its own limit.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, self.settings.max_image_pixels)
        state = self.state
        if self.settings.comfy_backend == "websocket":
            refuse_for_server(self.settings.safe_nodes)
            from worker.remote.backend import WebsocketBackend

            backend = WebsocketBackend(self.settings, self.life, self.freeze)
            with STEPS.step("server"):
                backend.start(self.say)
            self._backend = backend
        else:
            self.runtime = self.models_ahead.runtime = self._embed(state)
            try:
                self.on_demand.begin(self.runtime.fetched.begin)
                self._policy = reviewed_policy(self._policy, self.settings.safe_nodes, self.runtime, self.say)
                if self.settings.network_volume_debug:
                    log_volume(self.settings.network_volume_path, self.runtime)
            except BaseException:  # Such as Ctrl-C. Otherwise no other Worker could be opened.
                self.close()
                raise
        return self

    def _embed(self, state: StateFolder) -> Runtime:
        with _start_lock:
            if Worker._open is not None:
                raise StartError("A Worker is open in this process already; close it first")
            runtime = boot(self.settings, state, self.say)
            patience = Patience(self.settings.job_stall_timeout_s, self.settings.page_wait_s)
            limits, idly = MemoryLimits.of(self.settings), self.settings.lazy_idle_import
            embedded = EmbeddedBackend(runtime, self.life, patience, limits, self.freeze, imports_idly=idly)
            embedded.start()
            self._backend = Worker._open = embedded
        return runtime

    def embedded_runtime(self) -> Runtime:
        """The ComfyUI of this process.

        Raises:
            StartError: this Worker is not open, or its ComfyUI is a server elsewhere.
        """
        if self._backend is None or self.runtime is None:
            raise StartError("There is no ComfyUI in this process: open the Worker, without COMFY_BACKEND=websocket")
        return self.runtime

    @property
    def state(self) -> StateFolder:
        """The folder of all jobs' files. A process has one, which its first Worker chooses.

        Raises:
            StartError: the folder cannot be made, or ``WORKER_STATE_DIR`` names another one than the first Worker's.
        """
        return process_state(self.settings.worker_state_dir)

    def close(self) -> None:
        """Interrupt the jobs that run, and accept no more. Results stay readable.

        If this Worker is defunct, no other one can be opened in this process.

        Raises:
            BackendFailed: a node does not stop. Then no other Worker can be opened in this process.
        """
        self.models_ahead.close()
        if self._backend is not None:
            self._backend.close()
            if Worker._open is self._backend and self.life.failure is None:
                Worker._open = None
            self._backend = None

    def __enter__(self) -> Worker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Worker:
        if self.settings.comfy_backend == "websocket":  # It may wait for its server for long.
            return await asyncio.to_thread(self.start)
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def run(
        self,
        workflow: str | PathLike[str] | Mapping[str, Any],
        images: Mapping[str, ImageSource] | None = None,
        on_event: Listener | None = None,
    ) -> Result:
        """Run a workflow and wait for its result. ``KeyboardInterrupt`` stops the workflow.

        Args:
            workflow: a workflow in the format of ComfyUI's editor or of its API, or a request, as a dict, or a file
                that holds one (JSON, or a picture, sound or video made by ComfyUI), or the name of a workflow in
                ``WORKFLOWS_DIR``.
            images: input files, each a path, bytes or a PIL image, by the names that the workflow uses.
            on_event: called with every event of ``worker.events``, on another thread.

        Raises:
            InvalidJob, InputsRefused, JobTooLarge, WorkflowRejected: the workflow was not run; the text says why.
            JobInterrupted, JobTimedOut, JobStalled: the workflow was stopped before it began.
            BackendFailed: ComfyUI broke.
        """
        return self.run_job(make_job(workflow, images), on_event)

    async def arun(
        self,
        workflow: str | PathLike[str] | Mapping[str, Any],
        images: Mapping[str, ImageSource] | None = None,
        on_event: Listener | None = None,
    ) -> Result:
        """``run`` for asyncio. Cancelling the call interrupts the workflow and waits until it has stopped."""
        job = await asyncio.to_thread(make_job, workflow, images)
        return await self.arun_job(job, on_event)

    def run_job(self, job: Job, on_event: Listener | None = None) -> Result:
        """``run`` for a parsed job."""
        with measured_run(Reports(self.settings, self.runtime)) as measured:
            return measured(collect(self._begin(job, on_event).wait()))

    async def arun_job(self, job: Job, on_event: Listener | None = None) -> Result:
        """``arun`` for a parsed job."""
        with measured_run(Reports(self.settings, self.runtime)) as measured:
            ran = await self.run_graph(job, on_event)
            return measured(await asyncio.to_thread(collect, ran))

    async def run_graph(self, job: Job, on_event: Listener | None = None, on_file: OnFile = None) -> RunResult:
        """Stage a parsed job and run its graph. Afterwards the output files are in the job's own folder.

        ``on_file`` gets the path of each output file that is complete. It stays there until the graph has ended.

        Raises: as ``run``. Cancelling the call interrupts the graph and waits until it has stopped.
        """
        begin = partial(self._begin, job, on_event, on_file)
        takes_long = job.images or not job.is_ready or self.on_demand.concerns(job)
        return await (await begun_on_thread(begin) if takes_long else begin()).arrive()

    def converted(self, job: Job) -> Job:
        """``job`` with the API graph that runs: see ``with_api_graph``."""
        return with_api_graph(job, self._opened(), self.workflows)

    def definitions(self) -> Definitions:
        """What the node classes declare, as of now."""
        return self._opened().definitions()

    def _opened(self) -> Backend:
        if self._backend is None:
            raise StartError("The Worker is not open: use it as 'with Worker() as worker:', or call start()")
        return self._backend

    def _begin(self, job: Job, on_event: Listener | None, on_file: OnFile = None, stop: Stop = None) -> PendingRun:
        backend, job = self._opened(), self.converted(job)
        self._policy.check(job.workflow, self.runtime.runs_as if self.runtime else str)
        began = time.perf_counter()
        job, models = self.on_demand.bring(job, self.runtime, on_event, stop)
        on_event = watched(job.workflow, on_event, self.settings, self._history, job.api_key)
        with self.models_ahead.begin(job.workflow, models) as ahead:
            run = prepare_run(job, self.settings, self.state, on_event, on_file, models)
            return PendingRun(run, backend, began, ahead)
