"""The shape of the ``metrics`` of an answer, which the OpenAPI document describes."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

# TypedDict comes from typing_extensions, since Python 3.11's own forgets what is not required.


class MetricsPhase(TypedDict):
    """One part of a job's time."""

    phase: Annotated[str, Field(description="Its name, such as `execution`; docs/metrics.md explains each")]
    start_ms: Annotated[float, Field(ge=0, description="When it first began, from the begin of the job")]
    ms: Annotated[float, Field(ge=0, description="How long it took")]
    overlaps: NotRequired[
        Annotated[Literal[True], Field(description="It went on during other phases, which are in the total already")]
    ]


class MetricsNode(TypedDict):
    """A node's time. Nodes that it has expanded into count for it."""

    node_id: Annotated[str, Field(description="The node of the workflow")]
    class_type: Annotated[str, Field(description="Its class")]
    title: NotRequired[Annotated[str, Field(description="Its title in the workflow, if it has one")]]
    ms: Annotated[float, Field(ge=0, description="How long it ran")]
    cached: Annotated[bool, Field(description="Whether it did not run, since ComfyUI still had its result")]


class MetricsLeftOut(TypedDict):
    """The nodes that are not listed."""

    count: Annotated[int, Field(ge=1, description="How many there are")]
    ms: Annotated[float, Field(ge=0, description="How long they ran together")]


class MetricsModels(TypedDict):
    """What ComfyUI did with model files while nodes ran."""

    reads: Annotated[int, Field(ge=0, description="Files that it read")]
    read_bytes: Annotated[int, Field(ge=0, description="Their size")]
    read_ms: Annotated[float, Field(ge=0, description="How long it read")]
    load_ms: Annotated[float, Field(ge=0, description="How long it brought models to the device")]


class Metrics(TypedDict):
    """Where the job's time went, and what it used. What is not known is left out."""

    total_ms: Annotated[float, Field(ge=0, description="From the job's begin in the worker until its answer")]
    gpu_seconds: Annotated[float, Field(ge=0, description="How long no other job could use the GPU")]
    phases: Annotated[
        list[MetricsPhase], Field(description="Those without `overlaps` follow each other, and add up to `total_ms`")
    ]
    bytes_in: Annotated[int, Field(ge=0, description="Size of the input files, decoded")]
    bytes_out: Annotated[int, Field(ge=0, description="Size of the files that were delivered")]
    bytes_fetched: NotRequired[
        Annotated[int, Field(ge=0, description="Size of the models that were fetched for this job")]
    ]
    start: NotRequired[
        Annotated[Literal["cold", "warm"], Field(description="`cold`: the first workflow of this worker")]
    ]
    nodes: NotRequired[Annotated[list[MetricsNode], Field(description="In their order; of many, the slowest")]]
    nodes_left_out: NotRequired[MetricsLeftOut]
    models: NotRequired[MetricsModels]
    vram_peak_bytes: NotRequired[
        Annotated[int, Field(ge=0, description="Most memory of the CUDA device that was allocated at once")]
    ]
    rss_peak_bytes: NotRequired[
        Annotated[int, Field(ge=0, description="Most memory of the worker's process (`REPORT_METRICS=full`)")]
    ]
    cost: NotRequired[
        Annotated[float, Field(ge=0, description="Of the GPU seconds, by `GPU_PRICE_PER_HOUR` (`REPORT_METRICS=full`)")]
    ]
    versions: NotRequired[
        Annotated[dict[str, str], Field(description="Of the worker and what it runs (`REPORT_METRICS=full`)")]
    ]
