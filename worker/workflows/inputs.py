"""Which inputs of a node take a value, and which values. An input that is linked to another node takes none."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.convert.node.definitions import Definition, Spec
from worker.convert.node.fit import misfit, wanted
from worker.convert.node.layout import brought_along
from worker.convert.node.widgets import MISSING, Widget, api_value, has_value, widgets_of
from worker.errors import InvalidJob
from worker.job.shown import kind
from worker.protocol.links import shown

_SPECIAL = ("__value__", "__type__")  # ComfyUI takes what stands in such an object for the value, and so for a link.


@dataclass(frozen=True)
class Typed:
    """A value as somebody has typed it: JSON, or else a text."""

    text: str

    def meanings(self) -> Iterator[Any]:
        """What it may mean, the likelier one first."""
        with contextlib.suppress(ValueError, RecursionError):
            yield json.loads(self.text)
        yield self.text


@dataclass(frozen=True)
class Input:
    """One input of a node.

    Attributes:
        spec: what its class declares of it; None if it does not.
        value: what the graph has: a value, a link, or ``MISSING``.
    """

    name: str
    spec: Spec | None
    value: Any

    @property
    def source(self) -> str | None:
        """The id of the node that it is linked to."""
        return str(self.value[0]) if isinstance(self.value, list) and self.value else None

    @property
    def is_settable(self) -> bool:
        """Whether it takes a value."""
        if self.source is not None:
            return False
        return self.value is not MISSING or (self.spec is not None and has_value(self.spec))

    @property
    def default(self) -> Any:
        """The value that it has if nobody sets it, without the object that ComfyUI wants around lists."""
        if self.value is MISSING:
            return _first_value(self.spec) if self.spec is not None and has_value(self.spec) else MISSING
        return self.value["__value__"] if isinstance(self.value, dict) and "__value__" in self.value else self.value


def inputs_of(node: Mapping[str, Any], definition: Definition | None) -> dict[str, Input]:
    """The inputs of a node of an API graph, by name: those that its class declares, then others that the graph has."""
    given = node["inputs"]
    specs = {spec.name: spec for spec in _declared(definition.as_declared, given)} if definition is not None else {}
    return {name: Input(name, specs.get(name), given.get(name, MISSING)) for name in (*specs, *given)}


def input_of(node: Mapping[str, Any], definition: Definition | None, name: str) -> Input | None:
    """The input ``name`` of a node of an API graph; None if there is none."""
    given = node["inputs"]
    declared = _declared(definition.as_declared, given) if definition is not None else ()
    spec = next((spec for spec in declared if spec.name == name), None)
    return Input(name, spec, given.get(name, MISSING)) if spec is not None or name in given else None


def _declared(specs: Iterator[Spec] | tuple[Spec, ...], given: Mapping[str, Any]) -> Iterator[Spec]:
    """``specs`` with the inputs that the present choices bring along."""
    for spec in specs:
        yield spec
        yield from _declared(brought_along(Widget(spec.name, given.get(spec.name), spec)), given)


def brought_values(found: Input, value: Any) -> Iterator[tuple[str, Any]]:
    """The inputs that the choice ``value`` brings along, with the values that they begin with."""
    if found.spec is not None:
        for spec in brought_along(Widget(found.name, value, found.spec)):
            if has_value(spec) and (first := _first_value(spec)) is not MISSING:
                yield spec.name, api_value(first, spec)


def _first_value(spec: Spec) -> Any:
    return next(widget.value for widget in widgets_of(spec) if widget.is_sent)


def value_for(found: Input, value: Any, label: str) -> Any:
    """``value`` as the API graph has it.

    Args:
        found: the input, which is settable.
        value: what the caller has sent, or ``Typed``.
        label: the input in messages.

    Raises:
        InvalidJob: the input does not take this value.
    """
    problems = []
    for meant in value.meanings() if isinstance(value, Typed) else (value,):
        problem = _problem(found, meant, label)
        if problem is None:
            return _as_declared(found, meant)
        problems.append(problem)
    raise InvalidJob(f"'set': {problems[0]}")


def _problem(found: Input, value: Any, label: str) -> str | None:
    """Why the input does not take ``value``; None if it does."""
    if _may_be_link(value):
        return f"{label} is {shown(value)}, and takes values only, and no links to other nodes"
    if not _is_finite(value):
        return f"{label} is {shown(value)}, and takes only numbers that JSON has"
    spec = found.spec
    if spec is None or not has_value(spec):
        return _other_kind(found.value, value, label)
    if (problem := misfit(spec.named(label), value)) is not None:
        return problem + range_text(spec)
    if wanted(spec) is None:
        return _other_kind(found.default, value, label)
    low, high = value_range(spec)
    if (low is not None and value < low) or (high is not None and value > high):
        return f"{label} is {shown(value)}, and must be {wanted(spec)}{range_text(spec)}"
    return None


def _as_declared(found: Input, value: Any) -> Any:
    if found.spec is None:
        return {"__value__": value} if isinstance(value, list) else value
    if found.spec.widget_type == "INT" and isinstance(value, float):
        return int(value)
    return api_value(value, found.spec)


def value_range(spec: Spec) -> tuple[float | None, float | None]:
    """The least and the greatest number that an input takes; None: there is no such limit, or it takes no numbers."""
    if spec.widget_type not in ("INT", "FLOAT"):
        return None, None
    low, high = (_number(spec.options.get(name)) for name in ("min", "max"))
    # ComfyUI makes a float of what FLOAT gets, and there is none above this.
    return low, high if high is not None or spec.widget_type == "INT" else sys.float_info.max


def range_text(spec: Spec) -> str:
    """The range of an input, as the end of a sentence about what it takes."""
    low, high = value_range(spec)
    if high == sys.float_info.max:
        high = None
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of at least {low}" if low is not None else f" of at most {high}" if high is not None else ""


def _number(limit: Any) -> float | None:
    return limit if isinstance(limit, int | float) and not isinstance(limit, bool) else None


def _other_kind(present: Any, value: Any, label: str) -> str | None:
    """What is wrong with a value of an input whose type only its class knows: it must be of the kind that is there."""
    if present is MISSING or kind(value) == kind(present):
        return None
    return f"{label} is {shown(value)}, and must be {kind(present)}, as it is in the workflow"


def _may_be_link(value: Any) -> bool:
    """Whether ComfyUI might take ``value`` for a link, by itself or within the object that it has around lists."""
    if isinstance(value, dict):
        return any(name in value for name in _SPECIAL)
    return (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
    )


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)
