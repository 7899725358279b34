"""Every error that this package raises on purpose, and what a caller is told of it.

::

    WorkerError                 text that a caller may read, and an ``error_type``   whose matter it is
    ├── StartError              the worker cannot start; the process ends            worker, fatal
    │   ├── SettingsError       an environment variable cannot be read
    │   ├── ComfyNotFound       there is no ComfyUI where one should be
    │   └── NoDevice            no CUDA device works, and none was renounced
    ├── InvalidJob              the job's input has the wrong shape                  caller
    ├── InputsRefused           one or more input files could not be staged          caller
    ├── WorkflowRejected        ComfyUI does not accept the graph                    caller
    ├── AnswerTooLarge          the answer is larger than what may be sent           workflow
    ├── JobInterrupted          the job was interrupted before it ended              caller
    ├── JobTimedOut             it ran for too long                                  workflow
    ├── JobStalled              nothing of it moved for too long                     workflow
    ├── OutOfMemory             the device's memory was too small, twice             moment
    ├── DeviceFailed            the CUDA device is broken for this process           worker, fatal
    └── BackendFailed           the backend itself broke                             worker, ``fatal`` says
        └── WorkerDefunct       the job was not begun: this process takes none       worker, fatal

``fatal``: the process takes no further job, and ends. A node that raises is no exception here: what the graph produced
before it is still delivered, and the failure stands in the result's ``errors``; that is the workflow's matter, as a
bucket that does not answer is the moment's.
"""

from __future__ import annotations

from typing import ClassVar, Literal

ErrorType = Literal[
    "invalid_input",
    "invalid_image",
    "workflow_validation",
    "workflow_execution",
    "interrupted",
    "delivery",
    "answer_too_large",
    "answer_refused",
    "timeout",
    "stalled",
    "out_of_memory",
    "device",
    "defunct",
    "backend",
    "internal",
    "start",
]

Blame = Literal["caller", "workflow", "moment", "worker"]


def failure(error: str, error_type: ErrorType) -> dict[str, object]:
    """The answer to a job that gave nothing: one text that may be shown to a caller, and its kind."""
    return {"error": error, "error_type": error_type}


class WorkerError(Exception):
    """Base of the tree. ``str(error)`` is one text that may be shown to a caller."""

    error_type: ClassVar[ErrorType] = "internal"
    blame: ClassVar[Blame] = "worker"
    fatal: bool = False

    def answer(self) -> dict[str, object]:
        """This error as the answer to a job: ``{"error", "error_type"}``."""
        return failure(str(self), self.error_type)


class StartError(WorkerError):
    """The worker cannot start. The text says what to do; the process should end."""

    error_type = "start"
    fatal = True


class SettingsError(StartError):
    """An environment variable holds a value that cannot be read."""


class ComfyNotFound(StartError):
    """No ComfyUI tree was found."""


class NoDevice(StartError):
    """CUDA is required here and does not work."""


class InvalidJob(WorkerError):
    """The job's input breaks a rule of the request format."""

    error_type = "invalid_input"
    blame = "caller"


class FetchFailed(Exception):
    """A file that a caller named by its URL was not fetched; the text holds no address of this network."""


class InputsRefused(WorkerError):
    """Input files that could not be staged; ``details`` has one line for each."""

    error_type = "invalid_image"
    blame = "caller"

    def __init__(self, details: list[str]) -> None:
        super().__init__("Failed to upload one or more input images")
        self.details = details

    def answer(self) -> dict[str, object]:
        return {**super().answer(), "details": self.details}


class WorkflowRejected(WorkerError):
    """ComfyUI's validation does not accept the graph; the text has one bullet a problem."""

    error_type = "workflow_validation"
    blame = "caller"


class AnswerTooLarge(WorkerError):
    """The answer does not fit; sizes in MB of 10⁶ bytes."""

    error_type = "answer_too_large"
    blame = "workflow"

    def __init__(self, size_mb: float, limit_mb: float) -> None:
        super().__init__(
            f"The answer has {size_mb:.1f} MB and may have {limit_mb:g} MB (MAX_RESPONSE_MB): save fewer or smaller "
            "files, or set BUCKET_ENDPOINT_URL and its keys to send them to a bucket"
        )


class JobInterrupted(WorkerError):
    """The job was interrupted, while it ran or before its turn."""

    error_type = "interrupted"
    blame = "caller"

    def __init__(self) -> None:
        super().__init__("The job was interrupted before it ended")


class JobTimedOut(WorkerError):
    """The job ran for ``seconds``, which are all that ``limit`` gives it."""

    error_type = "timeout"
    blame = "workflow"

    def __init__(self, seconds: float, limit: str) -> None:
        super().__init__(f"The job ran for {seconds:g} s, which is its limit ({limit}), and was stopped")


class JobStalled(WorkerError):
    """Nothing of the job moved for ``seconds``."""

    error_type = "stalled"
    blame = "workflow"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The job hung and was stopped: for {seconds:g} s (JOB_STALL_TIMEOUT_S) it reported nothing, computed "
            "nothing, and waited for no file and no network"
        )


class OutOfMemory(WorkerError):
    """The device's memory was too small, also after everything else was removed from it."""

    error_type = "out_of_memory"
    blame = "moment"


class DeviceFailed(WorkerError):
    """A CUDA error from which this process does not recover."""

    error_type = "device"
    fatal = True


class BackendFailed(WorkerError):
    """What runs the graph broke outside of any node.

    Args:
        text: what a caller may read.
        fatal: whether the process must not take another job.
    """

    error_type: ClassVar[ErrorType] = "backend"

    def __init__(self, text: str, *, fatal: bool) -> None:
        super().__init__(text)
        self.fatal = fatal


class WorkerDefunct(BackendFailed):
    """The job was not begun: this process takes no more. Where a platform hands jobs out, another worker gets it."""

    error_type = "defunct"

    def __init__(self) -> None:
        super().__init__("This worker takes no more jobs, and ends; send the job again", fatal=True)
