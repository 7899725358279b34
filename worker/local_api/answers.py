"""The schemas of all answers in the OpenAPI document. The tests compare every answer with them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # Python 3.11's own forgets what is not required.

from worker.errors import ErrorType
from worker.local_api.job import State
from worker.receipt.shape import Metrics

ERROR_TYPES: dict[ErrorType, str] = {
    "invalid_input": "the request breaks a rule of its format",
    "model_fetch": "a model that the job brings cannot be had; `details` has a line for each",
    "invalid_image": "an input file cannot be staged; `details` has a line for each",
    "workflow_validation": "ComfyUI refuses the graph; `error` has a bullet for each problem",
    "workflow_execution": "a node raised, and nothing was saved before; `details` says which and why",
    "interrupted": "the job was interrupted",
    "delivery": "the files could neither be stored in the bucket nor be sent in the answer; `details` has the reasons",
    "answer_too_large": "the answer is over the limit of RunPod, or of `MAX_RESPONSE_MB`",
    "answer_refused": "RunPod did not take the answer",
    "timeout": "the job ran longer than `timeout_s` or `JOB_TIMEOUT_S`; on the local server also: `executionTimeout` "
    "or `ttl` ran out",
    "stalled": "nothing of the job moved for `JOB_STALL_TIMEOUT_S`, or a node waited for a person for `PAGE_WAIT_S`",
    "frozen": "the job let nothing else in the worker run, so the worker was ended (`FREEZE_TIMEOUT_S`); `error` names "
    "the node",
    "out_of_memory": "memory ran out, and once more after all else was removed from it; `error` has node and figures",
    "job_too_large": "the job needs more memory than `MAX_JOB_MB`; `error` names the node or the files",
    "device": "the GPU failed, or a node crashed the worker on a GPU; the worker ends, and another takes its place",
    "defunct": "the job was not begun: the worker ends (on RunPod another worker gets it, and nobody sees this)",
    "backend": "what runs the graph broke, or its server is gone",
    "internal": "an error of the worker itself",
    "start": "the worker is not open",
}


class OutputFile(TypedDict):
    """A file that a node saved."""

    filename: Annotated[str, Field(description="ComfyUI's own name of it, without its folder")]
    type: Annotated[Literal["base64", "s3_url"], Field(description="What `data` is")]
    data: Annotated[str, Field(description="The file as base64, or its presigned URL in the bucket")]
    node_id: Annotated[str, Field(description="The node of the workflow that saved it")]
    media_type: Annotated[str, Field(description="As in `Content-Type`, such as `image/png`")]
    subfolder: NotRequired[Annotated[str, Field(description="Its folder below the output folder, if it is in one")]]


class OutputText(TypedDict):
    """A text that a node showed."""

    node_id: Annotated[str, Field(description="The node that showed it")]
    text: Annotated[str, Field(description="The text, or the number as a text")]
    key: NotRequired[Annotated[str, Field(description="Its key in the node's ui dict, if that is not `text`")]]


_METRICS = "Where the time went, unless `REPORT_METRICS` is `off`"


class Answer(TypedDict):
    """What a workflow gave."""

    images: Annotated[
        list[OutputFile],
        Field(description="What nodes saved under their `images` key, in the order of the workflow's nodes"),
    ]
    files: NotRequired[Annotated[list[OutputFile], Field(description="Every other file, of whatever kind")]]
    text: NotRequired[Annotated[list[OutputText], Field(description="Texts that nodes showed")]]
    ui: NotRequired[
        Annotated[
            dict[str, dict[str, Any]],
            Field(description="What each node told ComfyUI's page, by node id, if the job asks for it"),
        ]
    ]
    errors: NotRequired[Annotated[list[str], Field(description="What went wrong beside what is here, a line for each")]]
    warnings: NotRequired[Annotated[list[str], Field(description="Notices that change nothing else, a line for each")]]
    error_type: NotRequired[
        Annotated[ErrorType, Field(description="What ended the workflow before its end, where that was no node")]
    ]
    status: NotRequired[
        Annotated[Literal["success_no_images"], Field(description="Nothing went wrong, and no image was saved")]
    ]
    metrics: NotRequired[Annotated[Metrics, Field(description=_METRICS)]]


class Failure(TypedDict):
    """What is said of a job that gave nothing, beside the `error` of its status."""

    error_type: Annotated[ErrorType, Field(description="The kind of error")]
    details: NotRequired[Annotated[list[str], Field(description="A line for each thing that went wrong")]]
    warnings: NotRequired[Annotated[list[str], Field(description="Notices that change nothing else, a line for each")]]
    metrics: NotRequired[Annotated[Metrics, Field(description=_METRICS)]]


class Progress(TypedDict):
    """Where a job is that runs. What is not known is not there."""

    stage: Annotated[
        Literal["downloading", "running", "loading model", "saving"],
        Field(description="Whether models are fetched, nodes run, one of them loads a model, or files are brought"),
    ]
    message: Annotated[str, Field(description="The node that runs, such as `KSampler (3): step 4 of 20`")]
    percent: Annotated[
        float,
        Field(ge=0, le=100, description="How much is done. Nodes count by the time that they took before"),
    ]
    completed_nodes: Annotated[int, Field(ge=0, description="Nodes that are done or were cached")]
    total_nodes: Annotated[int, Field(ge=0, description="Nodes of the workflow; 0 while models are fetched")]
    node_id: NotRequired[Annotated[str, Field(description="The node that runs")]]
    title: NotRequired[Annotated[str, Field(description="Its title in the workflow (`_meta.title`), on one line")]]
    step: NotRequired[Annotated[float, Field(ge=0, description="Where it is, if it counts steps")]]
    steps: NotRequired[Annotated[float, Field(gt=0, description="How many steps it has")]]
    loaded_mb: NotRequired[Annotated[float, Field(ge=0, description="How much of the model is there, in MB")]]
    model_mb: NotRequired[Annotated[float, Field(ge=0, description="The size of the model that it loads, in MB")]]
    downloaded_mb: NotRequired[Annotated[float, Field(ge=0, description="How much of the models is there, in MB")]]
    download_mb: NotRequired[Annotated[float, Field(ge=0, description="The size of these models, in MB")]]
    seconds: Annotated[float, Field(ge=0, description="How long the workflow has run")]
    seconds_left: NotRequired[
        Annotated[float, Field(ge=0, description="How long it will still run, if the same graph ran before")]
    ]
    preview: NotRequired[
        Annotated[str, Field(description="The newest preview, a JPEG as base64 (`PROGRESS_PREVIEWS=true`)")]
    ]
    done_nodes: NotRequired[
        Annotated[list[str], Field(description="Which nodes are done or were cached, with `?nodes=true`")]
    ]


class Queued(TypedDict):
    """A job that was taken."""

    id: Annotated[str, Field(description="The job's id")]
    status: Literal[State.IN_QUEUE]


class Cancelled(TypedDict):
    """A job that has ended, now or before."""

    id: Annotated[str, Field(description="The job's id")]
    status: Annotated[State, Field(description="`CANCELLED`, or what the job had ended with before")]
    delayTime: NotRequired[Annotated[int, Field(ge=0, description="Milliseconds in the queue")]]
    executionTime: NotRequired[Annotated[int, Field(ge=0, description="Milliseconds of work, once it has ended")]]


class JobStatus(TypedDict):
    """Where a job is, and what came of it. Nothing in it is null: what is not known is not there."""

    id: Annotated[str, Field(description="The job's id; `sync-` stands before those of `/runsync`")]
    status: Annotated[State, Field(description="The last four are final")]
    delayTime: NotRequired[Annotated[int, Field(ge=0, description="Milliseconds in the queue")]]
    executionTime: NotRequired[Annotated[int, Field(ge=0, description="Milliseconds of work, once it has ended")]]
    workerId: NotRequired[Annotated[str, Field(description="The worker that runs it")]]
    output: NotRequired[
        Annotated[
            Answer | Failure | Progress,
            Field(
                description="`COMPLETED`: the answer. `FAILED` and `TIMED_OUT`: the kind of error. `IN_PROGRESS`: "
                "where it is"
            ),
        ]
    ]
    error: NotRequired[Annotated[str, Field(description="`FAILED` and `TIMED_OUT`: one text that says what to do")]]


class StreamItem(TypedDict):
    """One piece of a job's output."""

    output: Answer


class Stream(TypedDict):
    """What has come since the last request. A workflow's output comes in one piece, at its end, and once."""

    id: Annotated[str, Field(description="The job's id")]
    status: State
    stream: list[StreamItem]


class Purged(TypedDict):
    """How many waiting jobs were removed."""

    removed: Annotated[int, Field(ge=0, description="Jobs that waited and are now `CANCELLED`")]
    status: Literal["completed"]


class JobCounts(TypedDict):
    """Jobs since the start, by state."""

    completed: int
    failed: Annotated[int, Field(description="Those that timed out among them")]
    inProgress: int
    inQueue: int
    retried: Annotated[int, Field(description="Always 0 here")]


class WorkerCounts(TypedDict):
    """Workers by state; there is one here."""

    idle: int
    initializing: int
    ready: int
    running: int
    throttled: int
    unhealthy: int


class Health(TypedDict):
    """Jobs and workers, by state."""

    jobs: JobCounts
    workers: WorkerCounts


class Error(TypedDict):
    """What is wrong with the request itself; no job was made of it."""

    error: Annotated[str, Field(description="What is wrong, and what to do")]
