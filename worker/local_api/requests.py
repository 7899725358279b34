"""What callers send to the local API, checked by RunPod's rules."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter, ValidationError, field_validator
from pydantic_core import CoreSchema

from worker.images.formats import FormatName
from worker.job.parse import LONGEST_S

_WEEK_MS = LONGEST_S * 1000
_EXAMPLE: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 256, "height": 256, "batch_size": 1, "color": 3368601}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}},
}


class BadRequest(Exception):
    """The request breaks a rule; the text says which, and ``status`` is HTTP's."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Documented:
    """Annotates a field that takes anything with the schema of ``kind``, which ``worker.job`` checks."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(TypeAdapter(self._kind).core_schema)


class Node(BaseModel):
    """One node of a workflow. Further keys, such as `_meta`, do no harm."""

    class_type: str = Field(description="Its class, such as `KSampler`")
    inputs: dict[str, Any] = Field(description="By name, a value or a link: `[node id, index of its output]`")


class InputImage(BaseModel):
    """A file that the workflow loads: an image, video, audio, latent or 3D model."""

    name: str = Field(description="The name by which LoadImage and other loaders find it: a relative path without `..`")
    image: str = Field(description="base64, with or without a `data:…;base64,` prefix, or an `http(s)` URL")


class Input(BaseModel):
    """A workflow and what it needs. Further fields are ignored; null counts as absent."""

    workflow: dict[str, Node] = Field(
        min_length=1, description="The graph by node id, in ComfyUI's API format: *Workflow > Export (API)*"
    )
    images: list[InputImage] | None = Field(default=None, description="Files that the workflow loads")
    output_format: FormatName | None = Field(
        default=None, description="Format of this job's images; default: the worker's `OUTPUT_FORMAT`"
    )
    output_quality: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Quality of WebP and JPEG; WebP is lossless at 100. Default: the worker's `OUTPUT_QUALITY`",
    )
    timeout_s: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_S,
        description="Seconds that the job may run, once it has its turn; the worker's `JOB_TIMEOUT_S` caps it. What it "
        "has finished by then is sent",
    )
    comfy_org_api_key: str | None = Field(
        default=None, description="Key for ComfyUI's API nodes; wins over the worker's `COMFY_ORG_API_KEY`"
    )
    api_key_comfy_org: str | None = Field(default=None, description="Another name of `comfy_org_api_key`, which wins")


class S3Config(BaseModel):
    """A bucket of the caller's, for the files of this job. Its endpoint must be on the public internet."""

    accessId: str = Field(min_length=1, description="Access key id")  # noqa: N815
    accessSecret: str = Field(min_length=1, description="Secret access key")  # noqa: N815
    bucketName: str = Field(min_length=1, description="The bucket, where the address does not name it")  # noqa: N815
    endpointUrl: str = Field(min_length=1, description="The service's `http(s)` address")  # noqa: N815


class Policy(BaseModel):
    """How long a job may run and live, in milliseconds."""

    model_config = ConfigDict(strict=True)

    executionTimeout: int = Field(default=600_000, ge=5_000, le=_WEEK_MS, description="Longest run, in milliseconds")  # noqa: N815
    lowPriority: bool = Field(default=False, description="Accepted; there is one worker here")  # noqa: N815
    ttl: int = Field(
        default=86_400_000, ge=10_000, le=_WEEK_MS, description="Longest life, waiting included, in milliseconds"
    )


class JobRequest(BaseModel):
    """The body of `/run` and `/runsync`. Further fields are ignored."""

    model_config = ConfigDict(json_schema_extra={"example": {"input": {"workflow": _EXAMPLE}}})

    input: Annotated[Any, Documented(Input | str)] = Field(description="The workflow and its files, or JSON of them")
    webhook: str | None = Field(default=None, description="Where the job's status is posted when it has ended")
    policy: Policy = Field(default_factory=Policy, description="How long the job may run and live")
    s3Config: Annotated[dict[str, Any] | None, Documented(S3Config | None)] = Field(  # noqa: N815
        default=None, repr=False, description="A bucket for this job's files"
    )

    @field_validator("input")
    @classmethod
    def _given(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("Please provide input")
        return value

    @field_validator("policy", mode="before")
    @classmethod
    def _default_policy(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("webhook")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        try:
            parts = urlsplit(value or "http://none")
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            valid = False
        if not valid or any(ord(char) <= 32 for char in value or ""):
            raise ValueError(f"'webhook' must be an http(s) address, not {str(value)[:80]!r}")
        return value or None


def parse_request(body: bytes) -> JobRequest:
    """Read the body of ``/run`` or ``/runsync``, whatever its declared type.

    Raises:
        BadRequest: with one line for the first rule that it breaks.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise BadRequest("The body must be a JSON object with an 'input'")
    if "input" not in content:
        raise BadRequest("Please provide input: the body must be an object with an 'input'")
    try:
        return JobRequest.model_validate(content)
    except ValidationError as error:
        raise BadRequest(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    problem = error.errors()[0]
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    where = ".".join(str(part) for part in problem["loc"])
    return f"'{where}': {problem['msg']}, not {str(problem['input'])[:80]!r}"
