"""Every error that this package raises on purpose, and what a caller is told of it.

::

    WorkerError                 text that a caller may read, and an ``error_type``
    ├── StartError              the worker cannot start; the process ends
    │   ├── SettingsError       an environment variable cannot be read
    │   ├── ComfyNotFound       there is no ComfyUI where one should be
    │   └── NoDevice            no CUDA device works, and none was renounced
    ├── InvalidJob              the job's input has the wrong shape
    ├── InputsRefused           one or more input files could not be staged
    ├── WorkflowRejected        ComfyUI does not accept the graph
    ├── AnswerTooLarge          the answer is larger than what may be sent
    ├── JobInterrupted          the job was interrupted before it ended
    └── BackendFailed           the backend itself broke; ``fatal`` says whether the process may go on

A node that raises is no exception here: what the graph produced before it is still delivered, and the
failure stands in the result's ``errors``.
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
    "backend",
    "internal",
    "start",
]


def failure(error: str, error_type: ErrorType) -> dict[str, object]:
    """The answer to a job that gave nothing: one text that may be shown to a caller, and its kind."""
    return {"error": error, "error_type": error_type}


class WorkerError(Exception):
    """Base of the tree. ``str(error)`` is one text that may be shown to a caller."""

    error_type: ClassVar[ErrorType] = "internal"
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


class FetchFailed(Exception):
    """A file that a caller named by its URL was not fetched; the text holds no address of this network."""


class InputsRefused(WorkerError):
    """Input files that could not be staged; ``details`` has one line for each."""

    error_type = "invalid_image"

    def __init__(self, details: list[str]) -> None:
        super().__init__("Failed to upload one or more input images")
        self.details = details

    def answer(self) -> dict[str, object]:
        return {**super().answer(), "details": self.details}


class WorkflowRejected(WorkerError):
    """ComfyUI's validation does not accept the graph; the text has one bullet a problem."""

    error_type = "workflow_validation"


class AnswerTooLarge(WorkerError):
    """The answer does not fit; sizes in MB of 10⁶ bytes."""

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


class BackendFailed(WorkerError):
    """What runs the graph broke outside of any node.

    Args:
        text: what a caller may read.
        fatal: whether the process must not take another job.
    """

    error_type = "backend"

    def __init__(self, text: str, *, fatal: bool) -> None:
        super().__init__(text)
        self.fatal = fatal
