"""Widgets that no definition has: some nodes let people add widgets, and the class takes whatever is sent."""

from __future__ import annotations

from typing import Any

from worker.convert.node.definitions import Spec
from worker.convert.node.widgets import Widget

_TEXT, _INDEX, _LORA = Spec("option", "STRING", {}), Spec("index", "INT", {}), Spec("lora", "LORA", {})


def own_widgets(class_type: str, widgets: list[Widget], left: list[Any]) -> list[Widget]:
    """The widgets that people have added to a node of a class. Takes their values out of ``left``.

    Args:
        widgets: those that its definition has.
        left: the saved values that are none of theirs.
    """
    if class_type == "CustomCombo":
        return _choices(widgets[0].value, left)
    if class_type == "Power Lora Loader (rgthree)":
        return _loras(left)
    return []


def _choices(chosen: Any, left: list[Any]) -> list[Widget]:
    """The choices that somebody has written, with the place of the chosen one before them."""
    texts = left[1:]
    left.clear()
    options = [Widget(f"option{number}", text, _TEXT) for number, text in enumerate(texts, 1)]
    index = next((place for place, option in enumerate(options) if option.value == chosen), -1)
    return [Widget("index", index, _INDEX), *options]


def _loras(left: list[Any]) -> list[Widget]:
    """The rows of a list of LoRAs. The list has a header, a line and a button besides."""
    rows = [value for value in left if isinstance(value, dict) and "lora" in value]
    left.clear()
    # The second strength is sent only if there are two.
    rows = [{name: part for name, part in row.items() if name != "strengthTwo" or part is not None} for row in rows]
    return [Widget(f"lora_{number}", row, _LORA) for number, row in enumerate(rows, 1)]
