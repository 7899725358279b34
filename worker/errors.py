"""The errors that end a job or the worker's start, and what a caller is told about them.

::

    WorkerError                 holds a text that a caller may read                  who can act on it
    ├── StartError              the worker cannot start, and the process ends        operator
    │   ├── SettingsError       an environment variable cannot be read               operator
    │   ├── ComfyNotFound       there is no ComfyUI at the expected place            operator
    │   └── NoDevice            no CUDA device works, and the CPU was not asked for  operator
    ├── InvalidJob              the job's input has the wrong shape                  caller
    ├── InputsRefused           one or more input files cannot be used               caller
    ├── ModelsNotFetched        a model that the job brings cannot be had            caller
    ├── WorkflowRejected        ComfyUI does not accept the graph                    caller
    ├── AnswerTooLarge          the answer is larger than what may be sent           caller, with another workflow
    ├── JobInterrupted          the job was interrupted before it ended              caller
    ├── JobTimedOut             the job ran for too long                             caller, with another workflow
    ├── JobStalled              the job did nothing for too long                     caller, with another workflow
    ├── JobWaitsForPage         a node waits for a person                            caller, with another workflow
    ├── JobFroze                the job let nothing else run, and the process ends   caller, with another workflow
    ├── OutOfMemory             the device's memory was too small, twice             caller, by trying again
    ├── JobTooLarge             the job needs more memory than a job may take        caller, with another workflow
    ├── DeviceFailed            the CUDA device failed, and the process ends         nobody
    └── BackendFailed           ComfyUI or the connection to it failed               nobody
        └── WorkerDefunct       the job was not begun, since the process ends        caller, by trying again

There is no class for a node that raises an exception: what the graph produced before is still delivered, and the
failure is a line in the result's ``errors``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

ErrorType = Literal[
    "invalid_input",
    "invalid_image",
    "model_fetch",
    "workflow_validation",
    "workflow_execution",
    "interrupted",
    "delivery",
    "answer_too_large",
    "answer_refused",
    "timeout",
    "stalled",
    "frozen",
    "out_of_memory",
    "job_too_large",
    "device",
    "defunct",
    "backend",
    "internal",
    "start",
]


def failure(error: str, error_type: ErrorType) -> dict[str, object]:
    """The answer to a job that has no result. ``error`` is one text that a caller may read."""
    return {"error": error, "error_type": error_type}


class WorkerError(Exception):
    """Base of the tree. ``str(error)`` is one text that a caller may read."""

    error_type: ClassVar[ErrorType] = "internal"

    def answer(self) -> dict[str, object]:
        """This error as the answer to a job: ``{"error", "error_type"}``."""
        return failure(str(self), self.error_type)


class StartError(WorkerError):
    """The worker cannot start. The text says what to do about it. The process should end."""

    error_type = "start"


class SettingsError(StartError):
    """An environment variable holds a value that cannot be read."""


class ComfyNotFound(StartError):
    """No ComfyUI tree was found."""


class NoDevice(StartError):
    """CUDA is required here and does not work."""


class InvalidJob(WorkerError):
    """The job's input breaks a rule of the request format."""

    error_type = "invalid_input"


class FetchFailed(Exception):
    """A file was not fetched from the URL that the caller gave. The text holds no address of this network."""


class InputsRefused(WorkerError):
    """Some input files cannot be used. ``details`` has one line for each of them."""

    error_type = "invalid_image"

    def __init__(self, details: list[str]) -> None:
        super().__init__("Failed to upload one or more input images")
        self.details = details

    def answer(self) -> dict[str, object]:
        return {**super().answer(), "details": self.details}


class ModelsNotFetched(WorkerError):
    """Some models that the job brings cannot be had. ``details`` has one line for each of them."""

    error_type = "model_fetch"

    def __init__(self, details: list[str]) -> None:
        super().__init__("Failed to fetch one or more models that the job brings")
        self.details = details

    def answer(self) -> dict[str, object]:
        return {**super().answer(), "details": self.details}


class WorkflowRejected(WorkerError):
    """ComfyUI's validation does not accept the graph. The text has a bullet for each problem."""

    error_type = "workflow_validation"


class AnswerTooLarge(WorkerError):
    """The answer is larger than what may be sent. Sizes are in MB of 10⁶ bytes."""

    error_type = "answer_too_large"

    def __init__(self, size_mb: float, limit_mb: float) -> None:
        super().__init__(
            f"The answer has {size_mb:.1f} MB and may have {limit_mb:g} MB (MAX_RESPONSE_MB): save fewer or smaller "
            "files, or set BUCKET_ENDPOINT_URL and its keys to send them to a bucket"
        )


class JobInterrupted(WorkerError):
    """The job was interrupted, while it ran or before its turn."""

    error_type = "interrupted"

    def __init__(self) -> None:
        super().__init__("The job was interrupted before it ended")


class JobTimedOut(WorkerError):
    """The job ran for ``seconds``, which is its limit. ``limit`` names the setting or field that set it."""

    error_type = "timeout"

    def __init__(self, seconds: float, limit: str) -> None:
        super().__init__(f"The job ran for {seconds:g} s, which is its limit ({limit}), and was stopped")


class JobStalled(WorkerError):
    """The job did nothing for ``seconds``: no report, no computing, no file, no network."""

    error_type = "stalled"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The job hung and was stopped: for {seconds:g} s (JOB_STALL_TIMEOUT_S) it reported nothing, computed "
            "nothing, and waited for no file and no network"
        )


class JobWaitsForPage(WorkerError):
    """A node waits for a person to answer in ComfyUI's page."""

    error_type = "stalled"

    def __init__(self, node_id: str, class_type: str) -> None:
        super().__init__(
            f"Node {node_id} ({class_type}) waits for somebody to answer in ComfyUI's page, which a worker does not "
            "have, and was stopped (PAGE_WAIT_S): take it out of the workflow"
        )


class JobFroze(WorkerError):
    """The job let nothing else in the worker run, so the process ends. ``node``: the node that ran, if one did."""

    error_type = "frozen"

    def __init__(self, node: str | None) -> None:
        ended = "let nothing else in this worker run (FREEZE_TIMEOUT_S), so the job was ended together with the worker"
        if node:
            text = (
                f"Node {node} {ended}. Do not send the job again as it is: give this node less to do, or leave it out"
            )
        else:
            text = f"The job {ended}. No node ran at that time. Do not send the job again as it is"
        super().__init__(text)


class OutOfMemory(WorkerError):
    """The device's memory was too small, even after everything else was removed from it, or the host's was."""

    error_type = "out_of_memory"


class JobTooLarge(WorkerError):
    """The job needs more than ``limit`` bytes of memory, which a job may take. ``who``: the node or files at fault."""

    error_type = "job_too_large"

    def __init__(self, who: str, limit: float) -> None:
        super().__init__(
            f"{who}: a job may take {limit / 1e6:,.0f} MB of memory (MAX_JOB_MB), and this one needs more. Use smaller "
            "or fewer images, shorter videos, smaller batches, or shorter texts"
        )


class DeviceFailed(WorkerError):
    """A CUDA error from which this process cannot recover."""

    error_type = "device"


class BackendFailed(WorkerError):
    """The backend, which runs the graph, failed outside of any node.

    ``device_is_broken``: whether it did since the device is broken, so that a call to it may never return.
    """

    error_type: ClassVar[ErrorType] = "backend"
    device_is_broken = False


class WorkerDefunct(BackendFailed):
    """The job was not begun, since this process takes no more jobs. A platform can give it to another worker."""

    error_type = "defunct"

    def __init__(self) -> None:
        super().__init__("This worker takes no more jobs, and ends; send the job again")
