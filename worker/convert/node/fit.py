"""Says what of a node in the file does not fit its class here, so that no value ends up in another widget than its own.

The editor hands saved values out by their order alone. If the file was saved with another version of the class, it
shifts them, and puts a number where a name belongs. What is told here: a value of a kind that its widget cannot have,
too many values, widgets of other names, an input that is none here. A name that is no choice of a combo is none of
this: ComfyUI's validation refuses it, and says which names there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from worker.convert.file.editor_file import Node
from worker.convert.node.definitions import Spec
from worker.convert.node.layout import Layout
from worker.convert.node.widgets import CONTROLS, DYNAMIC_COMBO, MISSING, choices_of
from worker.protocol.links import shown

_DRAWN = {
    "LOAD_3D": "a picture that the editor's page draws of a scene",
    "WEBCAM": "a picture that the editor's page takes with a camera",
    "AUDIO_RECORD": "a sound that the editor's page records",
}
# Of the pack cg-use-everywhere.
_BROADCASTS = frozenset({
    "Anything Everywhere", "Anything Everywhere?", "Anything Everywhere3", "Prompts Everywhere", "Seed Everywhere",
})  # fmt: skip
_OF_A_VIEW = ("LOAD3D_CAMERA", "LOAD3D_MODEL_INFO")


def misfits(node: Node, layout: Layout) -> Iterator[str]:
    """What of ``node`` does not fit. ``layout``: how it was laid out."""
    if node.type in _BROADCASTS:
        yield "it is linked to other nodes only by a script of the editor's page"
    for name in layout.lost:
        yield f"the editor drops the link to its input {name!r}: it has none of this name here, or only gets it later"
    if any(widget.spec.type == "LOAD_3D" for widget in layout.widgets):
        for output in node.outputs:
            if output.links and str(output.type) in _OF_A_VIEW:
                yield f"its output {output.type} is linked, and only the editor's page knows what somebody looks at"
    if isinstance(node.saved, list) and node.saved and node.type.startswith("VHS_"):
        yield "the file has its values without names, as old versions of VideoHelperSuite saved them"
        return
    here = [slot.widget for slot in layout.inputs if slot.widget]
    if node.names is not None and node.names != here[: len(node.names)]:
        yield f"the file has its widgets {_listed(node.names)}, and here it has {_listed(here)}"
    elif layout.is_cut:
        count = len(node.saved or ())
        yield f"the file has {count} values of its widgets, and here it has {count - len(layout.unused)} widgets"
    for widget in layout.widgets:
        if widget.name in CONTROLS and not isinstance(widget.value, str | bool | None):
            yield f"{widget.name} cannot be {shown(widget.value)}"


def misfit(spec: Spec, value: Any) -> str | None:
    """Why ``value`` cannot be one of the widget of ``spec``; None if it can."""
    kind = spec.widget_type
    if kind in _DRAWN and spec.name != "viewport_state":
        return f"{spec.name} must be {_DRAWN[kind]}"
    if kind not in _TESTS or value is MISSING:
        return None
    takes, test = _TESTS[kind]
    return None if test(spec, value) else f"{spec.name} is {shown(value)}, and must be {takes}"


def wanted(spec: Spec) -> str | None:
    """What values the widget of ``spec`` takes, in words; None if that is not known."""
    return _TESTS[spec.widget_type][0] if spec.widget_type in _TESTS else None


def _is_number(_: Spec, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(spec: Spec, value: Any) -> bool:
    return _is_number(spec, value) and (isinstance(value, int) or value.is_integer())  # Large ones are no floats.


def _is_choice(spec: Spec, value: Any) -> bool:
    if value in spec.choices:
        return True
    if spec.options.get("multi_select"):
        return isinstance(value, list)
    kinds = {_kind(choice) for choice in spec.choices} or {"text", "number", "boolean"}
    return _kind(value) in kinds


def _is_dynamic_choice(spec: Spec, value: Any) -> bool:
    return isinstance(value, str) and value in choices_of(spec)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number" if isinstance(value, int | float) else "other"


_TESTS: Mapping[str, tuple[str, Callable[[Spec, Any], bool]]] = {
    "INT": ("a whole number", _is_integer),
    "FLOAT": ("a number", _is_number),
    "BOOLEAN": ("true or false", lambda _, value: isinstance(value, bool)),
    "STRING": ("a text", lambda _, value: isinstance(value, str)),
    "COMBO": ("one of its choices", _is_choice),
    DYNAMIC_COMBO: ("one of its choices", _is_dynamic_choice),
    "COLOR": ("a color", lambda _, value: isinstance(value, str)),
    "BOUNDING_BOX": ("a box", lambda _, value: isinstance(value, dict)),
    "CURVE": ("a curve", lambda _, value: isinstance(value, dict | list)),
    "RANGE": ("a range", lambda _, value: isinstance(value, dict)),
    "COLORS": ("a list of colors", lambda _, value: isinstance(value, list)),
    "BOUNDING_BOXES": ("a list of boxes", lambda _, value: isinstance(value, list)),
}


def _listed(names: list[Any]) -> str:
    return ", ".join(map(str, names)) or "none"
