"""The widgets that the editor draws for an input, and the value that each of them begins with.

One input may have several: a number that changes after each run has a second one that says how, a box has one for each
of its numbers, a file has a button to upload it. ``widgets_values`` of a file has a value for each of them, in the
order of the drawing. The API graph has only those that the class declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker.convert.node.definitions import Spec


class Missing:
    """The type of ``MISSING``."""

    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = Missing()  # The value of a widget that has none. The API graph leaves it out.
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
CONTROLS = ("control_after_generate", "control_filter_list")
_BOX = {"x": 0, "y": 0, "width": 512, "height": 512}
_CURVE = {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"}


@dataclass(slots=True)
class Widget:
    """A widget of a node.

    Attributes:
        spec: the input that it is drawn for.
        is_sent: whether the API graph has its value. The others belong to the editor alone.
        is_saved: whether ``widgets_values`` has its value.
    """

    name: str
    value: Any
    spec: Spec
    is_sent: bool = True
    is_saved: bool = True


def api_value(value: Any, spec: Spec) -> Any:
    """A value as the API graph has it."""
    if not isinstance(value, list):
        return value
    return {"__type__": "CURVE", "__value__": value} if spec.widget_type == "CURVE" else {"__value__": value}


def has_widget(spec: Spec) -> bool:
    """Whether the editor draws a widget for an input."""
    return spec.widget_type in _KINDS and not spec.is_only_input


def has_value(spec: Spec) -> bool:
    """Whether an input can have a value in the API graph, and not only a link."""
    return spec.widget_type in _KINDS and any(widget.is_sent for widget in widgets_of(spec))


def widgets_of(spec: Spec) -> list[Widget]:
    """The widgets of one input, in the order of the drawing, with the values that they begin with."""
    return list(_KINDS[spec.widget_type](spec))


def choices_of(spec: Spec) -> Mapping[str, Mapping[str, Any]]:
    """The inputs that each choice of a dynamic combo brings along, by the choice."""
    options = spec.options.get("options")
    found = options if isinstance(options, list) else []
    return {str(one.get("key")): one.get("inputs") or {} for one in found if isinstance(one, Mapping)}


def _plain(default: Any) -> Callable[[Spec], Iterator[Widget]]:
    """One widget, whose value begins as the declared default, or else as ``default``."""

    def widgets(spec: Spec) -> Iterator[Widget]:
        given = spec.options.get("default")
        yield Widget(spec.name, default if given is None else given, spec)

    return widgets


def _control(spec: Spec, name: str = CONTROLS[0]) -> Widget:
    return Widget(name, "randomize", spec, is_sent=False)


def _integer(spec: Spec) -> Iterator[Widget]:
    yield from _plain(0)(spec)
    control = spec.options.get("control_after_generate")
    if control or (control is None and spec.name in ("seed", "noise_seed")):
        yield _control(spec)


def _float(spec: Spec) -> Iterator[Widget]:
    yield from _plain(0)(spec)
    if spec.options.get("control_after_generate"):
        yield _control(spec)


def _combo(spec: Spec) -> Iterator[Widget]:
    if spec.options.get("multi_select"):
        yield Widget(spec.name, [], spec)
    else:
        first = spec.choices[0] if spec.choices else "Loading..." if spec.options.get("remote") else MISSING
        yield Widget(spec.name, spec.options.get("default") or first, spec)
        remote = spec.options.get("remote")
        if remote:  # The editor asks the server for the choices, again if somebody wants it to.
            yield _drawn("auto-refresh", spec)
            if isinstance(remote, Mapping) and remote.get("refresh_button"):
                yield _drawn("refresh", spec)
    if spec.options.get("control_after_generate"):
        yield _control(spec)
        if not spec.options.get("multi_select"):
            yield _control(spec, CONTROLS[1])


def _dynamic_combo(spec: Spec) -> Iterator[Widget]:
    yield Widget(spec.name, next(iter(choices_of(spec)), MISSING), spec)


def _box(spec: Spec) -> Iterator[Widget]:
    box = spec.options.get("default") or _BOX
    yield Widget(spec.name, dict(box), spec)
    for field in _BOX:
        yield Widget(field, box.get(field), spec, is_sent=False)


def _under_options(default: Any, option: str) -> Callable[[Spec], Iterator[Widget]]:
    def widgets(spec: Spec) -> Iterator[Widget]:
        inner = spec.options.get("options")
        yield Widget(spec.name, (inner.get(option) if isinstance(inner, Mapping) else None) or default, spec)

    return widgets


def _drawn(name: str, spec: Spec, *, is_saved: bool = True) -> Widget:
    return Widget(name, MISSING, spec, is_sent=False, is_saved=is_saved)


def _of_the_editor(*names: str, is_saved: bool = True) -> Callable[[Spec], Iterator[Widget]]:
    """Buttons, players and previews. ``names``: default: one, named as its input."""

    def widgets(spec: Spec) -> Iterator[Widget]:
        for name in names or (spec.name,):
            yield _drawn(name, spec, is_saved=is_saved)

    return widgets


def _comparison(spec: Spec) -> Iterator[Widget]:
    yield Widget(spec.name, ["", ""], spec, is_saved=False)


def _scene(spec: Spec) -> Iterator[Widget]:
    """A view in three dimensions, with buttons before it if a file can be loaded into it."""
    if spec.name == "image":
        yield from _of_the_editor("upload 3d model", "upload extra resources", "clear")(spec)
        yield Widget(spec.name, MISSING, spec)
    else:
        yield Widget(spec.name, "", spec)


_KINDS: dict[str, Callable[[Spec], Iterator[Widget]]] = {
    "INT": _integer,
    "FLOAT": _float,
    "BOOLEAN": _plain(False),
    "STRING": _plain(""),
    "COMBO": _combo,
    DYNAMIC_COMBO: _dynamic_combo,
    "MARKDOWN": _plain(""),
    "TEXTAREA": _under_options("", "default"),
    "COLOR": _plain("#000000"),
    "COLORS": _plain([]),
    "BOUNDING_BOX": _box,
    "BOUNDING_BOXES": _plain([]),
    "CURVE": _plain(_CURVE),
    "RANGE": _plain({"min": 0.0, "max": 1.0}),
    "PAINTER": _plain(""),
    "COMPOSITOR": _plain({}),
    "CHART": _under_options({}, "data"),
    "GALLERIA": _under_options([], "images"),
    "IMAGECOMPARE": _comparison,
    "IMAGEUPLOAD": _of_the_editor(),
    "AUDIO_UI": _of_the_editor(is_saved=False),
    "AUDIOUPLOAD": _of_the_editor(),
    "AUDIO_RECORD": _plain(MISSING),
    "WEBCAM": _plain(MISSING),
    "LOAD_3D": _scene,
    # Of VideoHelperSuite.
    "VHSPATH": _plain(""),
    "VHSINT": _plain(0),
    "VHSFLOAT": _plain(0),
    "VHSTIMESTAMP": _plain(0),
}
