"""Nodes that read model files, as loaders of packs do."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import folder_paths
from folder_paths import get_filename_list


class ReadsLora:
    """Shows the hash of a LoRA, the names of all others, and what it sees on a thread of its own.

    As loaders of some packs do, it keeps what it has read by its name, for all jobs.
    """

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"
    kept: ClassVar[dict[str, str]] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"lora": (get_filename_list("loras"),)}}

    def run(self, lora: str) -> dict[str, Any]:
        if lora not in self.kept:
            path = Path(folder_paths.get_full_path_or_raise("loras", lora))
            self.kept[lora] = hashlib.sha256(path.read_bytes()).hexdigest()
        found: list[str | None] = []
        thread = threading.Thread(target=lambda: found.append(folder_paths.get_full_path("loras", lora)))
        thread.start()
        thread.join()
        shown = {"name": lora, "sha256": self.kept[lora], "names": get_filename_list("loras"), "thread": bool(found[0])}
        return {"ui": {"text": [json.dumps(shown)]}}


class ReadsAnyModel:
    """Shows the hash of a model in ``models/loras`` whose name is a plain text."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"name": ("STRING", {})}}

    def run(self, name: str) -> dict[str, Any]:
        path = folder_paths.get_full_path("loras", name)
        return {"ui": {"text": [hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else "nothing"]}}
