"""The schemas of a request in the OpenAPI document.

They only describe. ``worker.job.parse`` checks ``Input``, ``worker.bucket.bucket`` checks ``S3Config``, and
``JobRequest`` checks itself. The tests compare the schemas with these checks.
"""

from __future__ import annotations

from typing import Any, get_args

from worker.images.formats import FormatName
from worker.job.by_name import LONGEST_KEY, LONGEST_NAME, MOST_CHANGES
from worker.job.models import MOST_MODELS
from worker.job.parse import HIGHEST_QUALITY, LONGEST_S, LOWEST_QUALITY
from worker.local_api.requests import JobRequest
from worker.protocol.missing_classes import HOW_TO_EXPORT

Schema = dict[str, Any]
_PLACE = "#/components/schemas/"


WORKFLOW_FILE = {
    "requestBody": {
        "required": True,
        "description": "A file of any kind that `python -m worker run` takes: JSON, or a picture, sound or video that "
        "carries its workflow",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""The body of ``/describe``."""


def request_schemas() -> dict[str, Schema]:
    """The schemas of ``JobRequest`` and of all that it refers to, by name, for the document's components."""
    request = JobRequest.model_json_schema(ref_template=_PLACE + "{model}")
    others = request.pop("$defs")
    request["properties"]["input"] |= {"anyOf": [_named("Input"), {"type": "string"}]}
    request["properties"]["s3Config"] |= {"anyOf": [_named("S3Config"), {"type": "null"}]}
    inputs = {
        "Input": _INPUT,
        "InputImage": _INPUT_IMAGE,
        "OfferedModel": _OFFERED_MODEL,
        "Node": _NODE,
        "EditorWorkflow": _EDITOR_WORKFLOW,
        "S3Config": _S3_CONFIG,
    }
    return {"JobRequest": request, **others, **inputs}


def _named(name: str) -> Schema:
    return {"$ref": _PLACE + name}


def _object(description: str, properties: dict[str, Schema]) -> Schema:
    """The schema of an object. A property without a default is required."""
    required = [name for name, schema in properties.items() if "default" not in schema]
    return {"type": "object", "description": description, "properties": properties, "required": required}


def _optional(schema: Schema, description: str) -> Schema:
    return {"anyOf": [schema, {"type": "null"}], "default": None, "description": description}


def _text(description: str) -> Schema:
    return {"type": "string", "minLength": 1, "description": description}


_NODE = _object(
    "One node of a workflow. Further keys, such as `_meta`, do no harm.",
    {
        "class_type": {"type": "string", "description": "Its class, such as `KSampler`"},
        "inputs": {
            "type": "object",
            "additionalProperties": True,
            "description": "By name, a value or a link: `[node id, index of its output]`",
        },
    },
)
_INPUT_IMAGE = _object(
    "A file that the workflow loads: an image, video, audio, latent, 3D model or text.",
    {
        "name": {
            "type": "string",
            "description": "The name by which LoadImage and other loaders find it: a relative path without `..`",
        },
        "image": {
            "type": "string",
            "description": "base64, with or without a `data:…;base64,` prefix, or an `http(s)` URL",
        },
    },
)
_OFFERED_MODEL = _object(
    "A model file that the workflow needs, and where it can be had. Further keys are ignored.",
    {
        "name": _text("Its name in its folder, as the workflow writes it: a relative path without `..`"),
        "url": {"type": "string", "minLength": 1, "description": "An `http(s)` URL; only https is fetched"},
        "directory": _text("The kind of model: a folder of ComfyUI's `models/`, such as `loras`"),
        "sha256": _optional({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}, "What the file must be"),
    },
)
_EDITOR_WORKFLOW = _object(
    "A workflow as ComfyUI's editor saves it, in either version of its format. Further keys belong to it.",
    {
        "nodes": {"type": "array", "items": {"type": "object"}, "minItems": 1, "description": "Its nodes"},
    },
)
_INPUT = _object(
    "A workflow and what it needs. Further fields are ignored; null counts as absent.",
    {
        "workflow": {
            "anyOf": [
                {"type": "object", "additionalProperties": _named("Node"), "minProperties": 1},
                _named("EditorWorkflow"),
                {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
            ],
            "description": f"The graph by node id, in ComfyUI's API format ({HOW_TO_EXPORT}), or a workflow as the "
            "editor saves it, which is converted, or the name of a workflow that the worker has (`/workflows`)",
        },
        "set": _optional(
            {
                "type": "object",
                "maxProperties": MOST_CHANGES,
                "propertyNames": {"maxLength": LONGEST_KEY, "pattern": r"^[\s\S]+\.[^.]+$"},
            },
            "Values for inputs of the workflow, by `NODE.INPUT`, where `NODE` is a node's id or title: "
            '`{"3.seed": 7, "Positive prompt.text": "a lake"}`',
        ),
        "images": _optional({"type": "array", "items": _named("InputImage")}, "Files that the workflow loads"),
        "models": _optional(
            {"type": "array", "items": _named("OfferedModel"), "maxItems": MOST_MODELS},
            "Model files that the worker fetches if it lacks them, from the addresses that its `MODEL_SOURCES` allows",
        ),
        "output_format": _optional(
            {"type": "string", "enum": list(get_args(FormatName))},
            "Format of this job's images; default: the worker's `OUTPUT_FORMAT`",
        ),
        "output_quality": _optional(
            {"type": "integer", "minimum": LOWEST_QUALITY, "maximum": HIGHEST_QUALITY},
            "Quality of WebP and JPEG; WebP is lossless at 100. Default: the worker's `OUTPUT_QUALITY`",
        ),
        "timeout_s": _optional(
            {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_S},
            "Seconds that the job may run, once it has its turn; the worker's `JOB_TIMEOUT_S` caps it. What it has "
            "finished by then is sent",
        ),
        "comfy_org_api_key": _optional(
            {"type": "string"}, "Key for ComfyUI's API nodes; wins over the worker's `COMFY_ORG_API_KEY`"
        ),
        "api_key_comfy_org": _optional({"type": "string"}, "Another name of `comfy_org_api_key`, which wins"),
        "save_metadata": _optional(
            {"type": "boolean"}, "Whether image files carry the workflow; default: the worker's `SAVE_METADATA`"
        ),
        "ui": _optional(
            {"type": "boolean"},
            "Whether the answer has `ui`, what each node tells ComfyUI's page; default: the worker's `REPORT_UI`",
        ),
        "extra_data": _optional(
            {"type": "object", "properties": {"extra_pnginfo": {"type": ["object", "null"]}}},
            "`extra_pnginfo`, up to 5 MB: what the editor adds to the workflow, for nodes that read it and for the "
            "metadata of files, as in ComfyUI's own `/prompt`",
        ),
    },
)
_S3_CONFIG = _object(
    "A bucket of the caller's, for the files of this job. Its endpoint must be on the public internet.",
    {
        "accessId": _text("Access key id"),
        "accessSecret": _text("Secret access key"),
        "bucketName": _text("The bucket. If the address names one, it must be this one"),
        "endpointUrl": _text("The service's `http(s)` address"),
    },
)
