"""A workflow or a request from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.errors import InvalidJob


def load_request(path: Path) -> Mapping[str, Any]:
    """Read an API-format workflow, a request as an endpoint gets it, or the workflow that ComfyUI wrote into a PNG.

    Raises:
        InvalidJob: the file cannot be read, or holds none of these.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidJob(f"{path} cannot be read ({error.strerror})") from None
    text = _from_png(path) if data.startswith(b"\x89PNG") else data
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidJob(f"{path} holds no workflow: its JSON is no object")
    return content


def _from_png(path: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()  # The text may stand behind the pixels.
            prompt = image.info.get("prompt")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise InvalidJob(f"{path} is a damaged PNG: {error}") from None
    if not isinstance(prompt, str):
        raise InvalidJob(f"{path} carries no workflow: ComfyUI writes one into a PNG as its 'prompt'")
    return prompt
