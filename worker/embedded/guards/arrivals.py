"""Checks what arrives at ComfyUI's own nodes through links.

ComfyUI compares the types of the two ends of a link, and an output of any type fits everywhere. So an object can arrive
where a node expects a text or a number, and does with it what a caller's text says.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.embedded import versions
from worker.embedded.guards.interpreters import guard_interpreters
from worker.embedded.guards.plain import is_numpy_scalar
from worker.embedded.guards.texts import CallersText

_PLAIN_INPUTS = frozenset({"STRING", "INT", "FLOAT", "BOOLEAN", "COMBO"})
_BEYOND = 100
_SHOWN = 10**18
_PLAIN_VALUES = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class _Known:
    """A node class of ComfyUI's own.

    ``takes``: the type of each input that takes a text or a number. ``most``: the largest whole number that may arrive,
    for each input that declares one.
    """

    takes: dict[str, str]
    most: dict[str, int]
    formats: bool


def guard_arrivals(execution: Any, is_core: Callable[[Any], bool]) -> None:
    """Let ``execution.get_input_data`` refuse an object where a node of ComfyUI's own takes a text or a number.

    Args:
        execution: ComfyUI's module.
        is_core: whether a node class is ComfyUI's own. The classes of packs get what they always got.
    """
    get_input_data = execution.get_input_data
    blocker: type = execution.ExecutionBlocker
    known: weakref.WeakKeyDictionary[Any, _Known | None] = weakref.WeakKeyDictionary()

    def guarded(inputs: Mapping[str, Any], class_def: Any, *args: Any, **kwargs: Any) -> Any:
        if class_def not in known:
            known[class_def] = _learn(class_def) if is_core(class_def) else None
        result = get_input_data(inputs, class_def, *args, **kwargs)
        node = known[class_def]
        if node is None:
            return result
        arrived: dict[str, Any] = result[0]
        takes = node.takes
        if any("." in name for name in arrived):
            takes = _taken(versions.inputs_for(execution, class_def, inputs))
        for name, values in arrived.items():
            if name in takes:
                _check(name, takes[name], values, blocker)
            if name in node.most:
                _check_size(name, node.most[name], values)
            if node.formats:
                arrived[name] = [CallersText(value) if isinstance(value, str) else value for value in values]
        return result

    execution.get_input_data = guarded


def _learn(class_def: Any) -> _Known:
    inputs = class_def.INPUT_TYPES()
    return _Known(_taken(inputs), _most(inputs), guard_interpreters(class_def))


def _most(inputs: Mapping[str, Any]) -> dict[str, int]:
    """The largest whole number for each input: many times what it declares, since workflows go beyond that on purpose.

    ComfyUI compares numbers that a caller writes with what an input declares, but none that come from another node. A
    node would count up to such a number, and could not be interrupted.
    """
    return {
        name: spec[1]["max"] * _BEYOND
        for name, spec in _specs(inputs)
        if len(spec) > 1 and spec[0] == "INT" and isinstance(spec[1], dict) and isinstance(spec[1].get("max"), int)
        and spec[1]["max"] > 0
    }  # fmt: skip


def _check_size(name: str, most: int, values: Any) -> None:
    for value in values:
        if isinstance(value, int | float) and value > most:
            arrived = value if value < _SHOWN else "a far larger one"
            raise ValueError(f"Input {name!r} takes numbers up to {most // _BEYOND}, but {arrived} arrived")


def _taken(inputs: Mapping[str, Any]) -> dict[str, str]:
    kinds = ((name, spec[0]) for name, spec in _specs(inputs))
    return {name: "COMBO" if isinstance(kind, list | tuple) else kind for name, kind in kinds if _is_plain(kind)}


def _specs(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a class declares of each of its inputs."""
    for group in ("required", "optional"):
        yield from (inputs.get(group) or {}).items()


def _is_plain(kind: Any) -> bool:
    return isinstance(kind, list | tuple) or _PLAIN_INPUTS.issuperset(str(kind).split(","))


def _check(name: str, kind: str, values: Any, blocker: type) -> None:
    for value in values:
        if isinstance(value, (*_PLAIN_VALUES, blocker)):
            continue
        if isinstance(value, list | tuple | dict) and _all_plain(value):
            continue
        if is_numpy_scalar(value):
            continue
        raise TypeError(
            f"Input {name!r} takes {kind}, but a {type(value).__name__} arrived. Connect an output of type {kind}"
        )


def _all_plain(values: Any) -> bool:
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
        elif not isinstance(value, _PLAIN_VALUES):
            return False
    return True
