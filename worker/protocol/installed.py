"""``Installed``: what a ComfyUI tells about its node classes and models, for messages about a graph that it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

# Inputs of these types take what another node hands on, and no text, no number and no name of a file.
OBJECT_TYPES = frozenset({
    "AUDIO", "CLIP", "CLIP_VISION", "CLIP_VISION_OUTPUT", "CONDITIONING", "CONTROL_NET", "GUIDER", "IMAGE", "LATENT",
    "MASK", "MODEL", "NOISE", "SAMPLER", "SIGMAS", "STYLE_MODEL", "UPSCALE_MODEL", "VAE", "VIDEO",
})  # fmt: skip


class Installed(Protocol):
    """What a ComfyUI has. Methods raise nothing."""

    def has_node_class(self, class_type: str) -> bool:
        """Whether a node class is installed. True if that is not known."""

    def inputs_of(self, class_type: str) -> Mapping[str, Any]:
        """What ``INPUT_TYPES`` of a class returns. Empty if that is not known."""

    def outputs_of(self, class_type: str) -> Sequence[str] | None:
        """The type of each output of a class. None if that is not known."""

    def is_output(self, class_type: str) -> bool:
        """Whether a class saves or shows something, so that ComfyUI runs its nodes and those that they need."""

    def why_missing(self, class_type: str) -> str | None:
        """Why a class is not there although its node pack is. None if no such reason is known."""

    def listed_packs(self, class_type: str) -> str | None:
        """Which node packs are known to have a class that is not there, for a message. None if that is not known."""

    def model_files(self, folder: str) -> list[str]:
        """Names of the model files in ``folder``, as workflows name them."""


def declared_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a class declares of each of its inputs, by name. ``inputs``: what its ``INPUT_TYPES`` returns."""
    groups = [group for kind in ("required", "optional") if isinstance(group := inputs.get(kind), Mapping)]
    return {name: config for group in groups for name, config in group.items()}


def declared_kind(config: Any) -> Any:
    """What a class declares of an input's kind: the name of a type, or a list of choices. None if it is misshapen."""
    return config[0] if isinstance(config, list | tuple) and config else None


def combo_choices(config: Any) -> list[Any]:
    """The choices of a combo input: ``[[…], {…}]`` or ``["COMBO", {"options": […]}]``. Empty for other inputs."""
    if not isinstance(config, list | tuple) or not config:
        return []
    if isinstance(config[0], list):
        return config[0]
    options = config[1].get("options") if len(config) > 1 and isinstance(config[1], dict) else None
    return options if isinstance(options, list) else []
