"""Finds out whether a node class saves or reads files, and which hidden inputs it uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from worker.embedded import versions
from worker.embedded.files.access import FileAccess, file_access
from worker.protocol.installed import OBJECT_TYPES

_KEY_INPUTS = frozenset({"API_KEY_COMFY_ORG", "AUTH_TOKEN_COMFY_ORG"})
_GRAPH_INPUTS = frozenset({"PROMPT", "DYNPROMPT", "EXTRA_PNGINFO"})
_CORE_MODULES = ("nodes", "comfy_extras.")
_ANY_FILE = FileAccess(opens=True, opens_saved=False)


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
        self._titles: Mapping[str, str] = main.nodes.NODE_DISPLAY_NAME_MAPPINGS
        self._save_image = main.nodes.SaveImage
        self._args = main.args
        self._hidden: dict[Any, HiddenInputs] = {}
        self._access: dict[Any, FileAccess] = {}
        self._types: dict[Any, Mapping[str, Any]] = {}

    def find(self, class_type: str) -> Any:
        """The class itself; None if it is not loaded."""
        return self._classes.get(class_type)

    def is_output(self, class_type: str) -> bool:
        """Whether the class saves or shows something."""
        return bool(getattr(self._classes.get(class_type), "OUTPUT_NODE", False))

    def about(self, class_type: str) -> Mapping[str, Any] | None:
        """What ComfyUI's ``/object_info`` tells about the class: its inputs, outputs, names. None if it is not loaded.

        Raises: what a class of a pack raises when it is asked.
        """
        node_class = self._classes.get(class_type)
        if node_class is None:
            return None
        if hasattr(node_class, "GET_NODE_INFO_V1"):  # Of the newer interface, whose INPUT_TYPES tells less.
            return _as_json(node_class.GET_NODE_INFO_V1())
        inputs = node_class.INPUT_TYPES()
        return _as_json({
            "input": inputs,
            "input_order": {section: list(names) for section, names in inputs.items()},
            "output": node_class.RETURN_TYPES,
            "display_name": self._titles.get(class_type, class_type),
            "output_node": self.is_output(class_type),
            "python_module": getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes"),
        })  # fmt: skip

    def is_save_image(self, class_type: str) -> bool:
        """Whether the class is ComfyUI's own SaveImage, whose files the worker encodes and reports itself."""
        return self._classes.get(class_type) is self._save_image

    def adds_metadata(self, class_type: str) -> bool:
        """Whether the class is one of a pack that may write metadata of its own into files.

        ComfyUI's own write the graph alone: see ``hidden_inputs``.
        """
        if self.is_builtin(class_type):
            return False
        return self.is_output(class_type) or self.hidden_inputs(class_type).graph

    def may_read_files(self, class_type: str) -> bool:
        """Whether the class may open files of other nodes. True unless it is one of ComfyUI's own that open none."""
        return self._access_of(class_type).opens

    def reads_saved_files(self, class_type: str) -> bool:
        """Whether the class is one of ComfyUI's own that open what other nodes of the job have saved."""
        return self._access_of(class_type).opens_saved

    def hands_object(self, source: str, index: Any, class_type: str, name: str) -> bool:
        """Whether a link hands on an object that names no file.

        Args:
            source: class of the node that the link comes from.
            index: which of its outputs.
            class_type: class of the node that the link leads to.
            name: which of its inputs.
        """
        outputs = getattr(self._classes.get(source), "RETURN_TYPES", ())
        kind = outputs[index] if isinstance(index, int) and 0 <= index < len(outputs) else None
        wanted = self._input_types(class_type).get(name)
        if not (isinstance(kind, str) and isinstance(wanted, str)):
            return False
        # Packs have types that claim to equal every other one. So plain strings are compared.
        return str.__str__(kind) in OBJECT_TYPES and str.__str__(kind) == str.__str__(wanted)

    def is_builtin(self, class_type: str) -> bool:
        """Whether the class is one of ComfyUI's own, partner nodes aside."""
        node_class = self._classes.get(class_type)
        module = getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes")
        return node_class is not None and module.startswith(_CORE_MODULES)

    def _access_of(self, class_type: str) -> FileAccess:
        if not self.is_builtin(class_type):
            return _ANY_FILE
        node_class = self._classes[class_type]
        if node_class not in self._access:
            self._access[node_class] = file_access(node_class)
        return self._access[node_class]

    def _input_types(self, class_type: str) -> Mapping[str, Any]:
        """The type of each input that the class declares. The class itself is asked, once."""
        node_class = self._classes[class_type]
        if node_class not in self._types:
            inputs = node_class.INPUT_TYPES()
            declared = {**(inputs.get("required") or {}), **(inputs.get("optional") or {})}
            self._types[node_class] = {
                name: config[0] for name, config in declared.items() if isinstance(config, list | tuple) and config
            }
        return self._types[node_class]

    def hidden_inputs(self, class_type: str) -> HiddenInputs:
        """The hidden inputs that the class uses in this job. The class itself is asked, only once."""
        node_class = self._classes[class_type]
        if node_class not in self._hidden:
            self._hidden[node_class] = self._asked(node_class)
        # ComfyUI's own nodes use the graph only to write it into files.
        uses_graph = not self._args.disable_metadata or self._is_of_pack(node_class)
        return self._hidden[node_class] if uses_graph else replace(self._hidden[node_class], graph=False)

    def _asked(self, node_class: Any) -> HiddenInputs:
        hidden = node_class.INPUT_TYPES().get("hidden") or {}
        kinds = set(map(versions.hidden_input_name, hidden.values()))
        return HiddenInputs(bool(kinds & _KEY_INPUTS), bool(kinds & _GRAPH_INPUTS))

    @staticmethod
    def _is_of_pack(node_class: Any) -> bool:
        return str(getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes")).startswith("custom_nodes")


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` as JSON has it. Classes have members of enumerations, and texts that claim to equal every other one."""
    return dict(json.loads(json.dumps(value, default=str, skipkeys=True)))
