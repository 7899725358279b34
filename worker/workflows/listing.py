"""Describes the inputs of a workflow that requests can set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.convert.handles import Handle
from worker.convert.node.definitions import Definitions, Spec
from worker.convert.node.widgets import DYNAMIC_COMBO, MISSING, choices_of
from worker.job.job import Workflow
from worker.models.references import MODEL_ENDINGS
from worker.protocol.spelling import is_absolute, usual_name
from worker.redact import encodable, public_text
from worker.workflows.address import Nodes
from worker.workflows.inputs import Input, value_range

_SECRET = re.compile(r"api.?key|token|secret|password|auth", re.IGNORECASE)
_ENDING = re.compile(r"\.[a-z]\w{0,10}$", re.IGNORECASE)
_LONGEST_PUBLIC = 10_000_000


def settable_inputs(
    workflow: Workflow, definitions: Definitions, handles: Sequence[Handle] = ()
) -> Iterator[dict[str, Any]]:
    """What requests can set in ``workflow``, an API graph, and how: ``set`` is the key for each input.

    Nothing in it tells about this machine or about the files of jobs: lists of input files are left out, and defaults
    that are paths of this machine or keys.
    """
    nodes = Nodes(workflow, definitions, handles)
    shown = {target for handle in handles for target in handle.targets}
    places = [(handle.node_id, handle.name, *handle.targets[0]) for handle in handles]
    places += [
        (node_id, name, node_id, name)
        for node_id in workflow
        for name in nodes.inputs(node_id)
        if (node_id, name) not in shown
    ]
    for node_id, name, target_id, target in places:
        found = nodes.inputs(target_id).get(target)
        if found is not None and found.is_settable:
            yield {
                "set": encodable(nodes.key(node_id, name)),
                "node_id": encodable(node_id),
                "class_type": encodable(workflow[target_id]["class_type"]),
                "title": encodable(nodes.title(node_id)),
                "input": encodable(name),
                **_default(found),
                **(_takes(found.spec) if found.spec is not None else {"type": "*"}),
            }


def absent_choices(workflow: Workflow, definitions: Definitions) -> Iterator[str]:
    """A line for each value that is no choice of its input here, such as a model that is not there."""
    nodes = Nodes(workflow, definitions)
    for node_id, node in workflow.items():
        for found in nodes.inputs(node_id).values():
            choices = _choices(found.spec) if found.spec is not None else None
            value = found.default
            if (
                choices is not None
                and isinstance(value, str)
                and not is_absolute(value)
                and usual_name(value) not in choices
            ):
                yield f"Node {node_id} ({node['class_type']}) {found.name}: there is no {value!r} here"


def _takes(spec: Spec) -> Mapping[str, Any]:
    low, high = value_range(spec)
    choices = _choices(spec)
    options = {name: spec.options[name] for name in ("min", "max", "step", "multiline") if name in spec.options}
    about = {
        "type": encodable(spec.type),
        **({"min": low} if low is not None else {}),
        **({"max": high} if high is not None and "max" in options else {}),
        **({"step": options["step"]} if low is not None and "step" in options else {}),
        **({"multiline": True} if options.get("multiline") is True else {}),
        **({"choices": choices} if choices else {}),
        **({"upload": True} if _uploads(spec) else {}),
    }
    return {name: public for name, value in about.items() if (public := _public(value)) is not MISSING}


def _choices(spec: Spec) -> list[Any] | None:
    """The choices of a combo; None if they are not known, or are input files: a job that runs has its own there."""
    if spec.type not in ("COMBO", DYNAMIC_COMBO) or spec.options.get("remote"):
        return None
    choices = [*(spec.choices or choices_of(spec))]
    texts = [choice for choice in choices if isinstance(choice, str)]
    if _uploads(spec) or any(_is_other_file(text) for text in texts):
        return None
    return choices


def _uploads(spec: Spec) -> bool:
    return any(value and str(name).endswith("upload") for name, value in spec.options.items())


def _is_other_file(name: str) -> bool:
    """Whether ``name`` may be that of a file that is no model."""
    ending = _ENDING.search(name)
    return ending is not None and ending[0].lower() not in MODEL_ENDINGS


def _default(found: Input) -> Mapping[str, Any]:
    value = _public(found.default)
    is_secret = isinstance(value, str) and _SECRET.search(found.name)
    return {} if value is MISSING or is_secret else {"default": value}


def _public(value: Any) -> Any:
    """``value`` as an answer can hold it; ``MISSING`` if it cannot, or if it has a path of this machine."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return MISSING
    return _encodable(value) if text == public_text(text, max_length=_LONGEST_PUBLIC) else MISSING


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Mapping):
        return {encodable(str(name)): _encodable(inner) for name, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list | tuple) else value
