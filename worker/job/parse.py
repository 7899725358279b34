"""Checks a raw job by the rules of the request format, and turns it into a ``Job``. It reads and writes no files."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, cast, get_args

from worker.convert.file.editor_file import is_editor_format
from worker.errors import InvalidJob
from worker.images.formats import PNG_KEYWORD, FormatName
from worker.job.by_name import parse_changes, parse_name
from worker.job.depth import MAX_DEPTH, is_deeper
from worker.job.file_names import checked_name
from worker.job.job import InputImage, Job, Workflow
from worker.job.models import parse_models
from worker.job.notices import misspelt_fields
from worker.job.shown import kind, quoted

_IMAGES_TEXT = "'images' must be a list of objects with 'name' and 'image' keys"
LONGEST_S = 7 * 86_400  # The longest time that RunPod allows a job.
LOWEST_QUALITY, HIGHEST_QUALITY = 1, 100
_MAX_EXTRA = 5_000_000  # Characters of JSON. Large workflows of the editor have 2 million.
_COMFYUI_KEYS = ("client_id", "api_key_comfy_org", "auth_token_comfy_org")  # Of `extra_data`, and not read here.
INPUT_FIELDS = (
    "workflow", "set", "images", "output_format", "output_quality", "timeout_s", "comfy_org_api_key",
    "api_key_comfy_org", "extra_data", "save_metadata", "ui", "models",
)  # fmt: skip


def parse_job(raw: object) -> Job:
    """Check a job as RunPod hands it over: ``{"id": …, "input": {"workflow": …, "images": […], …}}``.

    Raises:
        InvalidJob: a rule is broken. The text is about the first such rule. Nothing else is raised.
    """
    if not isinstance(raw, Mapping):
        raise InvalidJob("A job must be an object with an 'input'")
    given = _parse_input(raw.get("input"))
    workflow = given.get("workflow")
    if workflow is None:
        raise InvalidJob("Missing 'workflow' parameter")
    job_id = raw.get("id")
    name = parse_name(workflow) if isinstance(workflow, str) else None
    extra = _parse_extra_data(given.get("extra_data"))
    if is_editors := is_editor_format(workflow):
        _check_editors(workflow)
        extra = {"workflow": workflow, **(extra or {})}  # As the editor's page sends it.
    return Job(
        id=job_id if isinstance(job_id, str) and job_id else str(uuid.uuid4()),
        workflow={} if is_editors or name is not None else parse_workflow(workflow),
        name=name,
        changes=parse_changes(given.get("set")),
        editor=workflow if is_editors else None,
        images=parse_images(given.get("images")),
        models=parse_models(given.get("models")),
        api_key=_parse_api_key(given),
        output_format=_parse_format(given.get("output_format")),
        output_quality=_parse_quality(given.get("output_quality")),
        timeout_s=_parse_timeout(given.get("timeout_s")),
        s3_config=_parse_s3_config(raw.get("s3Config")),
        extra_pnginfo=extra,
        save_metadata=_parse_boolean("save_metadata", given.get("save_metadata")),
        report_ui=_parse_boolean("ui", given.get("ui")),
        warnings=(
            *misspelt_fields(given, INPUT_FIELDS),
            *misspelt_fields(given.get("extra_data") or {}, ("extra_pnginfo", *_COMFYUI_KEYS)),
        ),
    )


def _check_editors(workflow: Mapping[str, Any]) -> None:
    if not workflow["nodes"]:
        raise InvalidJob("'workflow' has no nodes")
    _check_extra(workflow, "'workflow'")


def _parse_input(given: object) -> Mapping[str, Any]:
    if given is None:
        raise InvalidJob("Please provide input")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise InvalidJob("Invalid JSON format in input") from None
    if not isinstance(given, Mapping):
        raise InvalidJob(f"'input' must be an object with a 'workflow', not {kind(given)}")
    return given


def parse_workflow(workflow: object) -> Workflow:
    """Check that ``workflow`` is an API-format graph with at least one node. Its node classes are not checked here.

    Raises:
        InvalidJob: ``workflow`` is no such graph.
    """
    if not isinstance(workflow, dict):
        raise InvalidJob(f"'workflow' must be an object of nodes in ComfyUI's API format, not {kind(workflow)}")
    if not workflow:
        raise InvalidJob("'workflow' has no nodes")
    for node_id, node in workflow.items():
        if not isinstance(node_id, str):
            raise InvalidJob(f"'workflow': node id {quoted(node_id)} must be a string")
        if not (
            isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
        ):
            raise InvalidJob(
                f"'workflow': node {quoted(node_id)} must be an object with 'class_type' (a string) and "
                "'inputs' (an object)"
            )
    if is_deeper(workflow):
        raise InvalidJob(f"'workflow' is nested more than {MAX_DEPTH} levels deep")
    return workflow


def parse_images(images: object) -> tuple[InputImage, ...]:
    """Check the ``images`` of a request. The content of the files is checked later, when they are staged.

    Raises:
        InvalidJob: ``images`` is no list of ``{name, image}``, a name is unsafe, or a name is used twice.
    """
    if images is None:
        return ()
    if not isinstance(images, list):
        raise InvalidJob(_IMAGES_TEXT)
    parsed: dict[str, InputImage] = {}
    for entry in images:
        if not isinstance(entry, Mapping):
            raise InvalidJob(_IMAGES_TEXT)
        name, data = entry.get("name"), entry.get("image")
        if not isinstance(name, str) or not isinstance(data, str):
            raise InvalidJob(_IMAGES_TEXT)
        name = checked_name(name)
        if name in parsed:
            raise InvalidJob(f"'images': the name {quoted(name)} is used twice")
        parsed[name] = InputImage(name, data)
    return tuple(parsed.values())


def _parse_api_key(given: Mapping[str, Any]) -> str | None:
    for field_name in ("comfy_org_api_key", "api_key_comfy_org"):
        key = given.get(field_name)
        if key is not None and not isinstance(key, str):
            raise InvalidJob(f"'{field_name}' must be a string")
        if key:
            return str(key)
    return None


def _parse_format(given: object) -> FormatName | None:
    if given is None:
        return None
    name = {"jpg": "jpeg"}.get(given.lower(), given.lower()) if isinstance(given, str) else given
    if name not in get_args(FormatName):
        raise InvalidJob(f"'output_format' must be 'png', 'webp' or 'jpeg', not {quoted(given)}")
    return cast(FormatName, name)


def _parse_quality(given: object) -> int | None:
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or not LOWEST_QUALITY <= given <= HIGHEST_QUALITY:
        raise InvalidJob(
            f"'output_quality' must be a whole number from {LOWEST_QUALITY} to {HIGHEST_QUALITY}, not {quoted(given)}"
        )
    return given


def _parse_boolean(name: str, given: object) -> bool | None:
    if given is not None and not isinstance(given, bool):
        raise InvalidJob(f"'{name}' must be true or false, not {quoted(given)}")
    return given


def _parse_extra_data(given: object) -> Mapping[str, Any] | None:
    """The ``extra_pnginfo`` of ``extra_data``, which ComfyUI's own ``/prompt`` takes in this form."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise InvalidJob(f"'extra_data' must be an object, not {kind(given)}")
    extra = given.get("extra_pnginfo")
    if extra is None:
        return None
    if not isinstance(extra, dict):
        raise InvalidJob(f"'extra_data': 'extra_pnginfo' must be an object, not {kind(extra)}")
    for name in extra:
        if not isinstance(name, str) or not PNG_KEYWORD.fullmatch(name):
            raise InvalidJob(
                f"'extra_data': 'extra_pnginfo' has the name {quoted(name)}: names have 1 to 79 Latin characters, "
                "as PNG wants them"
            )
    _check_extra(extra, "'extra_data': 'extra_pnginfo'")
    return extra or None


def _check_extra(value: object, name: str) -> None:
    """Check the depth and the size of what goes into the metadata of files."""
    if is_deeper(value):
        raise InvalidJob(f"{name} is nested more than {MAX_DEPTH} levels deep")
    try:
        size = len(json.dumps(value, separators=(",", ":")))
    except (TypeError, ValueError) as error:  # From Python.
        raise InvalidJob(f"{name} must hold what JSON can hold ({error})") from None
    if size > _MAX_EXTRA:
        raise InvalidJob(f"{name} has {size / 1e6:.1f} MB, the limit is {_MAX_EXTRA / 1e6:.0f} MB")


def _parse_timeout(given: object) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= LONGEST_S:
        raise InvalidJob(f"'timeout_s' must be a number of seconds, above 0 and up to {LONGEST_S}, not {quoted(given)}")
    return float(given)


def _parse_s3_config(given: object) -> Mapping[str, Any] | None:
    if given is not None and not isinstance(given, Mapping):
        raise InvalidJob(f"'s3Config' must be an object, not {kind(given)}")
    return given or None
