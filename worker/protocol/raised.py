"""Says which inputs of a node that raised an exception have values that no node of its class can use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from worker.protocol.input_files import brings, file_inputs
from worker.protocol.installed import OBJECT_TYPES, Installed, declared_inputs, declared_kind
from worker.protocol.links import shown


def useless_values(node: Mapping[str, Any], staged: Collection[str], installed: Installed) -> Iterator[str]:
    """A text for each such input of ``node``. ComfyUI's validation lets them through, and the node's error is Python's.

    The arguments are those of ``wrong_file``.
    """
    inputs = node["inputs"]
    for name, config in declared_inputs(installed.inputs_of(node["class_type"])).items():
        kind = declared_kind(config)
        is_object = isinstance(kind, str) and str.__str__(kind) in OBJECT_TYPES
        if is_object and name in inputs and not isinstance(inputs[name], list):
            yield f'its input {name} takes {kind} through a link, such as ["1", 0], and was given {shown(inputs[name])}'
    for name in file_inputs(node, staged, installed):
        if isinstance(inputs.get(name), str) and not inputs[name].strip():
            yield f"its input {name} names no file; {brings(staged)}"
