"""Finds out whether a node class saves or reads files, and which hidden inputs it uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.embedded import versions

_KEY_INPUTS = frozenset({"API_KEY_COMFY_ORG", "AUTH_TOKEN_COMFY_ORG"})
_GRAPH_INPUTS = frozenset({"PROMPT", "DYNPROMPT", "EXTRA_PNGINFO"})
_CORE_MODULES = ("nodes", "comfy_extras.")
_READERS = ("Load", "Webcam", "Record", "File")  # Words in the names of ComfyUI's own nodes that read files.


def is_core(node_class: Any) -> bool:
    """Whether it is ComfyUI's own, and not one of a pack."""
    module = getattr(node_class, "RELATIVE_PYTHON_MODULE", None) or node_class.__module__
    return module.split(".")[0] in ("nodes", "comfy_extras", "comfy_api_nodes")


@dataclass(frozen=True)
class HiddenInputs:
    """Whether a node uses what it gets besides its inputs: the API key, the whole graph."""

    api_key: bool
    graph: bool


class NodeClasses:
    """ComfyUI's node classes, by their names.

    Args:
        main: ComfyUI's ``main`` module.
    """

    def __init__(self, main: Any) -> None:
        self._classes: Mapping[str, Any] = main.nodes.NODE_CLASS_MAPPINGS
        self._save_image = main.nodes.SaveImage
        self._writes_metadata = not main.args.disable_metadata
        self._hidden: dict[Any, HiddenInputs] = {}

    def is_output(self, class_type: str) -> bool:
        """Whether the class saves or shows something."""
        return bool(getattr(self._classes.get(class_type), "OUTPUT_NODE", False))

    def is_save_image(self, class_type: str) -> bool:
        """Whether the class is ComfyUI's own SaveImage, whose files the worker encodes and reports itself."""
        return self._classes.get(class_type) is self._save_image

    def may_read_files(self, class_type: str) -> bool:
        """Whether the class may open files of other nodes. True unless it is one of ComfyUI's own that load nothing."""
        node_class = self._classes.get(class_type)
        module = getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes")
        is_core = node_class is not None and module.startswith(_CORE_MODULES)
        return not is_core or any(word in class_type for word in _READERS)

    def hidden_inputs(self, class_type: str) -> HiddenInputs:
        """The hidden inputs that the class uses. The class itself is asked, only once."""
        node_class = self._classes[class_type]
        if node_class not in self._hidden:
            self._hidden[node_class] = self._asked(node_class)
        return self._hidden[node_class]

    def _asked(self, node_class: Any) -> HiddenInputs:
        hidden = node_class.INPUT_TYPES().get("hidden") or {}
        kinds = set(map(versions.hidden_input_name, hidden.values()))
        is_core = not getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes").startswith("custom_nodes")
        # ComfyUI's own nodes use the graph only to write it into files.
        uses_graph = self._writes_metadata or not is_core
        return HiddenInputs(bool(kinds & _KEY_INPUTS), bool(kinds & _GRAPH_INPUTS) and uses_graph)
