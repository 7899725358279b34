"""Lays a node out as the editor does: its widgets with their saved values, and its inputs.

``widgets_values`` is a list in the order of the drawing, or, for nodes of some packs, an object by name. A dynamic
combo brings the widgets of its choice along, right behind it. An input that grows has one row more than it has links.
What an input is comes from the class; the file only adds its link.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker.convert.file.editor_file import Node, Output, Slot
from worker.convert.node.definitions import Definition, Spec, spec_of, specs_of
from worker.convert.node.own_widgets import own_widgets
from worker.convert.node.widgets import DYNAMIC_COMBO, Widget, choices_of, has_widget, widgets_of

_AUTOGROW, _MATCHTYPE = "COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3"
_MOST_ROWS = 100
_NOTHING: tuple[Any, ...] = ("", None, False, {})
_SAMPLERS = ("KSampler", "KSamplerAdvanced")  # Their first samplers had longer names.


class Layout:
    """The widgets and inputs of one node.

    Attributes:
        unused: saved values that are left when each widget has got its own.
        untouched: widgets that have no saved value.
        lost: linked inputs whose link the editor drops: they are none here, or two dynamic combos have brought them.
    """

    def __init__(self, node: Node, definition: Definition) -> None:
        self.widgets: list[Widget] = []
        self.untouched: list[Widget] = []
        self.lost: list[str] = []
        self._node, self._definition = node, definition
        self._specs: list[Spec] = []
        self._by_name = node.saved if isinstance(node.saved, dict) else None
        self.unused = _without_forced(node.saved, definition) if isinstance(node.saved, list) else []
        for spec in sorted(definition.inputs, key=has_widget):
            for socket in _sockets(spec, node):
                self._add(socket)
        self.widgets += own_widgets(definition.name, self.widgets, self.unused)
        self.inputs = list(self._merged_inputs())

    @property
    def is_cut(self) -> bool:
        """Whether saved values are left over that mean something.

        The editor saves empty ones for its own previews. If a class of ComfyUI itself has no widget, they all are.
        """
        has_own = any(widget.is_saved for widget in self.widgets) or self._definition.is_of_pack
        return has_own and any(value not in _NOTHING for value in self.unused)

    def _add(self, spec: Spec, depth: int = 0) -> None:
        """Add an input with its widgets. ``depth``: how many dynamic combos have brought it along."""
        self._specs.append(spec)
        if depth > 1 and any(slot.name == spec.name and slot.link is not None for slot in self._node.inputs):
            self.lost.append(spec.name)
        for widget in widgets_of(spec) if has_widget(spec) else ():
            self._give(widget)
            self.widgets.append(widget)
            for inner in brought_along(widget) if widget.is_sent else ():
                for socket in _sockets(inner, self._node):
                    self._add(socket, depth + 1)

    def _give(self, widget: Widget) -> None:
        """Set the saved value of ``widget``."""
        if self._by_name is not None and widget.name in self._by_name:
            widget.value = self._by_name[widget.name]
        elif self._by_name is None and widget.is_saved and self.unused:
            begun = widget.value
            widget.value = self.unused.pop(0)
            self._mend(widget, begun)
        elif widget.is_saved:
            self.untouched.append(widget)

    def _mend(self, widget: Widget, begun: Any) -> None:
        """Change what the editor changes when it opens a file."""
        if widget.value is None and widget.spec.type == "COMBO" and widget.is_sent:
            widget.value = widget.spec.choices[0] if widget.spec.choices else begun
        if self._node.type in _SAMPLERS and widget.name == "sampler_name" and isinstance(widget.value, str):
            widget.value = widget.value.removeprefix("sample_")

    def _merged_inputs(self) -> Iterator[Slot]:
        """The inputs of the class with the links of the file, and those that only the file has."""
        saved = {slot.name: slot for slot in self._node.inputs}
        here: set[str] = set()
        for spec in sorted(self._specs, key=has_widget):
            if spec.name not in here:
                here.add(spec.name)
                link = saved[spec.name].link if spec.name in saved else None
                yield Slot(spec.name, spec.type, link, spec.name if has_widget(spec) else None)
        combos = tuple(f"{spec.name}." for spec in self._specs if spec.type == DYNAMIC_COMBO)
        for slot in self._node.inputs:
            if slot.name in here:
                continue
            if slot.widget is None and not slot.name.startswith(combos):
                yield slot
            elif slot.link is not None:
                self.lost.append(slot.name)


def lay_out(node: Node, definition: Definition) -> Layout:
    """Give ``node`` the widgets, inputs and outputs of its class."""
    layout = Layout(node, definition)
    node.widgets, node.inputs = layout.widgets, layout.inputs
    for widget in node.widgets:
        widget.value = node.overrides.get(widget.name, widget.value)
    saved = node.outputs
    node.outputs = [
        Output("*" if kind == _MATCHTYPE else kind, saved[index].links if index < len(saved) else [])
        for index, kind in enumerate(definition.outputs)
    ] + saved[len(definition.outputs) :]
    return layout


def brought_along(widget: Widget) -> Iterator[Spec]:
    """The inputs that a choice brings along: of a dynamic combo, or of a file format of VideoHelperSuite."""
    spec, formats = widget.spec, widget.spec.options.get("formats")
    if spec.type == DYNAMIC_COMBO and isinstance(widget.value, str):
        for inner in specs_of(choices_of(spec).get(widget.value)):
            yield inner.named(f"{spec.name}.{inner.name}")
    elif spec.type == "COMBO" and isinstance(formats, Mapping) and isinstance(widget.value, str):
        of_format = formats.get(widget.value)
        for name, *config in of_format if isinstance(of_format, list) else ():
            yield spec_of(name, config)


def _without_forced(saved: list[Any], definition: Definition) -> list[Any]:
    """The saved values without those of inputs that had a widget once and have none since (``forceInput``).

    The editor of then saved a value for each. They can only be told by the number of all values.
    """
    forced: list[bool] = []
    for spec in definition.as_declared:
        if spec.is_only_input or has_widget(spec):
            forced.append(spec.is_only_input)
            if spec.options.get("control_after_generate"):
                forced.append(False)
    if len(forced) != len(saved):
        return list(saved)
    return [value for value, is_forced in zip(saved, forced, strict=True) if not is_forced]


def _sockets(spec: Spec, node: Node) -> Iterator[Spec]:
    """The inputs that a declared one stands for: several, if it grows."""
    if spec.type == _MATCHTYPE:
        allowed = (spec.options.get("template") or {}).get("allowed_types", "*")
        yield Spec(spec.name, str(allowed), spec.options, (), spec.is_optional)
    elif spec.type == _AUTOGROW:
        yield from _rows(spec, node)
    else:
        yield spec


def _rows(spec: Spec, node: Node) -> Iterator[Spec]:
    """The rows of an input that grows: one more than its least number, and than those that have a link."""
    template = spec.options.get("template") or {}
    groups = list(specs_of(template.get("input")))
    names, prefix = template.get("names"), template.get("prefix") or ""
    most = min(len(names) if names else template.get("max", _MOST_ROWS), _MOST_ROWS)
    linked = {slot.name for slot in node.inputs if slot.link is not None}
    rows, row = template.get("min", 1) + 1, 0
    while row < min(rows, most):
        for inner in groups:
            base = names[row] if names else f"{prefix if len(groups) == 1 else inner.name}{row}"
            name = f"{spec.name}.{base}"
            if name in linked:
                rows = max(rows, row + 2)
            yield from _sockets(inner.named(name), node)
        row += 1
