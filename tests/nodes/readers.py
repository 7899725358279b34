"""Nodes that open files by names which they compute or are handed."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Any

import folder_paths
from PIL import Image


class AnyType(str):
    """A type that equals every other one, as packs define it."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


class ReadsText:
    """Shows a text of the input folder."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"name": ("STRING", {})}}

    def run(self, name: str) -> dict[str, Any]:
        return {"ui": {"text": [Path(folder_paths.get_annotated_filepath(name)).read_text()]}}


class HandsOn:
    """Hands on a value of any type."""

    RETURN_TYPES = (AnyType("*"),)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name.
        return {"required": {"value": ("STRING", {"forceInput": True})}}

    def run(self, value: Any) -> tuple[Any]:
        return (value,)


class Passes:
    """Takes anything, and hands it on as any type."""

    RETURN_TYPES = (AnyType("*"),)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"value": (AnyType("*"),)}}

    def run(self, value: Any) -> tuple[Any]:
        return (value,)


class LoadsFirst:
    """Shows the first pixel of the first picture that a pattern or a folder below the input folder names."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"pattern": ("STRING", {"default": "*"})}}

    def run(self, pattern: str) -> tuple[str]:
        place = os.path.join(folder_paths.get_input_directory(), pattern)  # noqa: PTH118 - as packs do it.
        place = os.path.join(place, "*") if Path(place).is_dir() else place  # noqa: PTH118
        first = min(path for path in glob.glob(place) if Path(path).is_file())  # noqa: PTH207
        with Image.open(first) as image:
            return (str(image.convert("RGB").getpixel((0, 0))),)


CLASSES = (HandsOn, Passes, LoadsFirst, ReadsText)
