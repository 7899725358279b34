"""Checks requests to the local API by RunPod's rules. ``worker.job.parse`` checks their ``input``."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from worker.job.parse import LONGEST_S

_WEEK_MS = LONGEST_S * 1000
_EXAMPLE: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 256, "height": 256, "batch_size": 1, "color": 3368601}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}},
}


class BadRequest(Exception):
    """The request breaks a rule. The text says which; ``status`` is the HTTP status."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


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

    input: Any = Field(description="The workflow and its files, or JSON of them")
    webhook: str | None = Field(default=None, description="Where the job's status is posted when it has ended")
    policy: Policy = Field(default_factory=Policy, description="How long the job may run and live")
    s3Config: dict[str, Any] | None = Field(default=None, repr=False, description="A bucket for this job's files")  # noqa: N815

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
    """Read the body of ``/run`` or ``/runsync`` as JSON. Its ``Content-Type`` does not matter.

    Raises:
        BadRequest: the body breaks a rule. The text is about the first such rule.
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
