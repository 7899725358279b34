"""The common part of the Python clients: their arguments, and the files of a request and of an answer."""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import requests

ENDPOINT_URL = os.environ.get("ENDPOINT_URL", "http://localhost:8000/v2/local").rstrip("/")
API_KEY = os.environ.get("RUNPOD_API_KEY", "none")
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")

_EPILOG = """\
environment:
  ENDPOINT_URL     https://api.runpod.ai/v2/<endpoint>; default: http://localhost:8000/v2/local, for scripts/serve
  RUNPOD_API_KEY   RunPod's API key, or the LOCAL_API_TOKEN of a local server that has one

example:
  python {program} examples/scale.json results in.png=photo.png
"""


def read_arguments(description: str | None) -> tuple[dict[str, Any], Path]:
    """The job's ``input``, and the folder for its results. Wrong arguments end the program with 2."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=_EPILOG.format(program=sys.argv[0]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workflow", type=Path, help="JSON file from ComfyUI's Workflow (or File) > Export (API)")
    parser.add_argument("folder", type=Path, help="where the results go; made if it is missing")
    parser.add_argument(
        "images", nargs="*", metavar="NAME=FILE", help="a file that the workflow loads, by the name it has there"
    )
    options = parser.parse_args()
    try:
        workflow = json.loads(options.workflow.read_text("utf-8"))
        images = [_image(*argument.partition("=")) for argument in options.images]
        options.folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return {"workflow": workflow, "images": images}, options.folder


def _image(name: str, equals: str, path: str) -> dict[str, str]:
    if not equals:
        raise ValueError(f"{name!r} is no NAME=FILE")
    return {"name": name, "image": base64.b64encode(Path(path).read_bytes()).decode()}


def show(job: dict[str, Any]) -> None:
    """Print the state and progress of ``job``."""
    progress = job.get("output") or {}
    where = f" {progress['percent']:.0f} % {progress['message']}" if "percent" in progress else ""
    print(f"{job['status']}{where}", file=sys.stderr)


def finish(job: dict[str, Any], folder: Path) -> int:
    """Save the results of ``job`` and print their paths, or say why there are none; returns the exit code."""
    output = job.get("output") or {}
    for line in [*output.get("errors", []), *output.get("details", []), *output.get("warnings", [])]:
        print(line, file=sys.stderr)
    if job["status"] != "COMPLETED":
        print(f"{job['status']}: {job.get('error', 'the job gave nothing')}", file=sys.stderr)
        return 1
    for entry in [*output.get("images", []), *output.get("files", [])]:
        path = _free(folder / (Path(entry["filename"]).name or "output"))
        path.write_bytes(_content(entry))
        print(path)
    for text in output.get("text", []):
        print(f"node {text['node_id']}: {text['text']}", file=sys.stderr)
    return 0


def _content(entry: dict[str, str]) -> bytes:
    if entry["type"] == "base64":
        return base64.b64decode(entry["data"])
    response = requests.get(entry["data"], timeout=300)  # The URL is presigned: it needs no API key.
    response.raise_for_status()
    return response.content


def _free(path: Path) -> Path:
    """``path``, or the same with a number if there is a file already, so that nothing is overwritten."""
    candidate, count = path, 1
    while candidate.exists():
        count += 1
        candidate = path.with_stem(f"{path.stem}-{count}")
    return candidate


def reason(error: Exception) -> str:
    """What the server says about a request that failed, or why there was no answer."""
    response = getattr(error, "response", None)
    if response is None:
        return str(error)
    try:
        return f"HTTP {response.status_code}: {response.json()['error']}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}: {response.text[:500]}"
