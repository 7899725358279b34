"""Nodes that report progress and previews: in good order, and as no node should."""

from __future__ import annotations

import time
from typing import Any

import comfy.model_management
import comfy.utils
from PIL import Image

from .faults import OnImage


class ShowsPreviews(OnImage):
    """Takes ``steps`` steps of ``step_s`` seconds, each with a preview: left ``shown``, right its complement."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        number = ("INT", {"max": 0xFFFFFF})
        return {"required": {"image": ("IMAGE",), "steps": number, "step_s": ("FLOAT", {}), "shown": number},
                "optional": {"side": ("INT", {"default": 64, "max": 100_000})}}  # fmt: skip

    def run(self, image: Any, steps: int, step_s: float, shown: int, side: int = 64) -> tuple[Any]:
        picture = Image.new("RGB", (side, side), _rgb(shown))
        picture.paste(_rgb(0xFFFFFF - shown), (side // 2, 0, side, side))
        bar = comfy.utils.ProgressBar(steps)
        for step in range(steps):
            time.sleep(step_s)
            bar.update_absolute(step + 1, steps, ("JPEG", picture, 512))
        return (image,)


class ReportsOddly(OnImage):
    """Reports progress that makes no sense."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "kind": ("STRING", {}), "times": ("INT", {"max": 10_000_000})}}

    def run(self, image: Any, kind: str, times: int) -> tuple[Any]:
        send: Any = comfy.utils.PROGRESS_BAR_HOOK
        nan, infinite = float("nan"), float("inf")
        pairs: dict[str, list[Any]] = {
            "nan": [(nan, 20), (3, nan), (nan, nan), (infinite, infinite), (-infinite, 5)],
            "zero": [(0, 0), (5, 0), (5, -3)],
            "over": [(30, 20), (10**400, 20), (-5, 20), (1e300, 1e-300)],
            "backwards": [(20, 20), (1, 20), (19, 20), (0, 1000)],
            "many": [(step, times) for step in range(1, 101)],
        }
        for _ in range(times if kind != "many" else times // 100):
            for value, maximum in pairs.get(kind, [(1, 2)]):
                try:
                    send(value, maximum, _PREVIEWS[kind]() if kind in _PREVIEWS else None)
                except comfy.model_management.InterruptProcessingException:
                    raise
                except Exception:  # noqa: BLE001, S110 - ComfyUI's own bars may refuse it.
                    pass
        return (image,)


_PREVIEWS: dict[str, Any] = {
    "huge": lambda: ("JPEG", Image.new("RGB", (8000, 8000), "red"), 512),
    "float": lambda: ("JPEG", Image.new("F", (64, 64), 0.5), 512),
    "deep": lambda: ("JPEG", Image.new("I;16", (64, 64), 500), 512),
    "clear": lambda: ("JPEG", Image.new("RGBA", (64, 64), (255, 0, 0, 0)), 512),
    "empty": lambda: ("JPEG", Image.new("RGB", (0, 0)), 512),
    "narrow": lambda: ("JPEG", Image.new("RGB", (100_000, 1), "red"), 512),
    "text": lambda: ("JPEG", "no picture", 512),
    "none": lambda: (None, None, None),
}


def _rgb(color: int) -> tuple[int, int, int]:
    return color >> 16 & 255, color >> 8 & 255, color & 255


CLASSES = (ShowsPreviews, ReportsOddly)
