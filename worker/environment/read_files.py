"""Reads a file of any kind that says what is needed: a workflow, a snapshot, or a build file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from worker.convert.file.editor_file import is_editor_format
from worker.environment.build_file import SCHEMA, build_needs
from worker.environment.needs import Needs, UnreadableFile, together
from worker.environment.snapshot_file import is_snapshot, snapshot_needs
from worker.environment.workflow_file import listed_models, workflow_needs
from worker.job.carried import carried_texts, carries_metadata

_LARGEST = 200_000_000  # Bytes. A video that carries a workflow may be large.


def read_needs(path: Path) -> Needs:
    """What the file at ``path`` needs.

    Raises:
        UnreadableFile: it cannot be read, or is of no such kind.
    """
    return _needs_of(_document(path), str(path))


def _needs_of(document: Mapping[str, Any], source: str) -> Needs:
    schema = document.get("schema")
    if isinstance(schema, str) and schema.startswith("comfy-build"):
        if schema != SCHEMA:
            raise UnreadableFile(f"{source}: its schema is {schema[:80]!r}, and {SCHEMA!r} can be read")
        return build_needs(document, source)
    if is_snapshot(document):
        return snapshot_needs(document, source)
    workflows = list(_workflows(document))
    editors = [workflow for workflow in workflows if is_editor_format(workflow)]  # It says more than the API graph.
    found = [workflow_needs(workflow, source) for workflow in editors or workflows]
    if not found:
        raise UnreadableFile(
            f"{source} is no workflow, no snapshot.json of ComfyUI-Manager, and no comfy-build.yaml: "
            "see 'python -m worker prepare --help'"
        )
    given = document.get("input")
    models = (given if isinstance(given, Mapping) else document).get("models")
    return together([Needs(models=listed_models(models, source)), *found])


def _workflows(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The workflows of a file or of a request, in each form that it has."""
    for key in ("input", "workflow", "prompt"):
        inner = document.get(key)
        if isinstance(inner, Mapping) and "class_type" not in inner:
            extra = _at(document, "extra_data", "extra_pnginfo", "workflow")
            yield from _workflows(extra) if isinstance(extra, Mapping) else ()
            yield from _workflows(inner)
            if key == "input":
                return
    is_graph = bool(document) and all(isinstance(node, Mapping) and "class_type" in node for node in document.values())
    if isinstance(document.get("nodes"), list) or is_graph:
        yield document


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _document(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise UnreadableFile(f"{path} has more than {_LARGEST // 10**6} MB: this is no such file")
        data = path.read_bytes()
        if carries_metadata(data):
            return {name: json.loads(text) for name, text in carried_texts(path, data).items()}
        text = data.decode("utf-8-sig")
        document = yaml.safe_load(text) if path.suffix.lower() in (".yaml", ".yml") else json.loads(text)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read ({error.strerror})") from None
    except yaml.YAMLError as error:
        raise UnreadableFile(f"{path} is no YAML: {' '.join(str(error).split())[:300]}") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{path} is no JSON: {error}") from None
    if not isinstance(document, Mapping):
        raise UnreadableFile(f"{path} holds nothing that can be prepared: it is no object")
    return document
