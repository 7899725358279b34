"""Builds a ``Job`` from the workflow and the images that Python code or the command line gives."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from PIL import Image

from worker.errors import InvalidJob
from worker.job.carried import carried_workflow, carries_metadata
from worker.job.file_names import checked_name
from worker.job.job import InputImage, Job
from worker.job.parse import parse_job

ImageSource = str | PathLike[str] | bytes | Image.Image


def make_job(workflow: str | PathLike[str] | Mapping[str, Any], images: Mapping[str, ImageSource] | None = None) -> Job:
    """Build a job. The arguments are those of ``Worker.run``.

    A file's name without folder and ending is the name of a workflow if there is no such file.

    Raises:
        InvalidJob: there is no valid workflow, or an input file cannot be read.
    """
    request = workflow if isinstance(workflow, Mapping) else _request_of(Path(workflow))
    job = parse_job({"id": request.get("id"), "input": request_input(request)})
    given = {image.name: image for image in job.images}
    for name, source in (images or {}).items():
        name = checked_name(name)
        given[name] = InputImage(name, _read_image(name, source))
    return replace(job, images=tuple(given.values()))


def _request_of(path: Path) -> Mapping[str, Any]:
    if len(path.parts) == 1 and not path.suffix and not os.path.exists(path):  # noqa: PTH110 - Path's own may raise.
        return {"workflow": str(path)}
    return load_request(path)


def request_input(request: Mapping[str, Any]) -> object:
    """The ``input`` of a job, from a request or from a graph.

    A request has ``workflow`` under ``input`` or at its top. In a graph, either name may be the id of a node.
    """
    if "input" in request and not _is_node(request["input"]):
        return request["input"]
    if "workflow" in request and not _is_node(request["workflow"]):
        return request
    return {"workflow": dict(request)}


def _is_node(value: object) -> bool:
    return isinstance(value, Mapping) and "class_type" in value


def _read_image(name: str, source: ImageSource) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | PathLike):
        try:
            return Path(source).read_bytes()
        except OSError as error:
            raise InvalidJob(f"image {name!r}: {source} cannot be read ({error.strerror})") from None
    buffer = io.BytesIO()
    source.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def load_request(path: Path) -> Mapping[str, Any]:
    """Read a workflow, a request for an endpoint, or what ComfyUI has written into a picture, a sound or a video.

    Raises:
        InvalidJob: the file cannot be read, or holds none of these.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidJob(f"{path} cannot be read ({error.strerror})") from None
    return request_in(data, path)


def request_in(data: bytes, path: Path | str) -> Mapping[str, Any]:
    """``load_request`` for the content of a file. ``path``: what the file is called in messages.

    Raises:
        InvalidJob: there is no workflow in it.
    """
    text = carried_workflow(path, data) if carries_metadata(data) else data
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidJob(f"{path} holds no workflow: its JSON is no object")
    return content
