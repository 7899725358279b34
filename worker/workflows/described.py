"""Tells what is in a workflow file that a caller has at hand: its nodes, and what a request can set in it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

from worker.errors import InvalidJob, WorkerError
from worker.job.carried import PICTURES
from worker.job.from_python import request_in, request_input
from worker.job.parse import INPUT_FIELDS
from worker.redact import encodable
from worker.settings import Settings
from worker.workflows.admitted import admitted_job
from worker.workflows.catalog import Catalog
from worker.workflows.nodes import nodes_of

_FILE = "The file"
_MOST_NODES = 2000  # Of a file that cannot be converted; nothing else bounds them.


def described_file(content: bytes, catalog: Catalog, settings: Settings) -> dict[str, Any]:
    """What is in a workflow file of any kind that ``run`` takes: ``input`` to send, ``nodes``, ``inputs``.

    Where nodes do not fit their classes here, ``error`` says so, and ``nodes`` are those that the file has. It may ask
    a server, so call it on a thread.

    Raises:
        InvalidJob: there is no workflow in it, or none that may run here.
        BackendFailed: the backend does not say what its node classes are.
    """
    _check_size(content, settings.max_image_pixels)
    given = _given(content)
    job = admitted_job({"input": given}, settings)
    if job.name is not None:
        raise InvalidJob(f"{_FILE} only names a workflow: choose it by its name")
    sent = {name: given[name] for name in INPUT_FIELDS if given.get(name) is not None}
    try:
        return {"input": sent, **catalog.described(job)}
    except WorkerError as error:
        nodes = nodes_of(job.workflow) if job.editor is None else list(_editors_nodes(job.editor))
        return {"input": sent, "nodes": nodes, "inputs": [], "error": encodable(str(error))}


def _check_size(content: bytes, max_pixels: int) -> None:
    """Refuse a picture with too many pixels: what stands behind them is only found when they are decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=PICTURES) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return  # It is none, or one that cannot be read, which is said where its workflow is looked for.
    if width * height > max_pixels:
        raise InvalidJob(
            f"{_FILE} is a picture of {width} × {height} pixels, and the limit is {max_pixels} (MAX_IMAGE_PIXELS)"
        )


def _given(content: bytes) -> Mapping[str, Any]:
    given = request_input(request_in(content, _FILE))
    try:
        if isinstance(given, str):
            given = json.loads(given)
        # ComfyUI writes NaN into its files, which JSON does not have.
        given = json.loads(json.dumps(given), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise InvalidJob(f"{_FILE} holds no request that can be read: its JSON is wrong, or nested too deep") from None
    if not isinstance(given, Mapping):
        raise InvalidJob(f"{_FILE} holds no workflow: its 'input' is no object")
    return given


def _editors_nodes(editor: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The nodes of a workflow that cannot be converted. Nothing is known of them."""
    for node in editor["nodes"][:_MOST_NODES]:
        if isinstance(node, Mapping) and isinstance(node.get("type"), str):
            title = node.get("title")
            yield {
                "node_id": encodable(str(node.get("id"))),
                "class_type": encodable(node["type"]),
                "title": encodable(title if isinstance(title, str) and title else node["type"]),
            }
