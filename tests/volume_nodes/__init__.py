"""A node pack on the network volume, with a model folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths

folder_paths.add_model_folder_path("pack_models", str(Path(folder_paths.models_dir) / "pack_models"))


class PackModel:
    """Names a file of the pack's model folder."""

    CATEGORY = "tests"
    FUNCTION = "load"
    RETURN_TYPES = ("STRING",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name.
        return {"required": {"model": (["none", *folder_paths.get_filename_list("pack_models")],)}}

    def load(self, model: str) -> dict[str, Any]:
        path = folder_paths.get_full_path_or_raise("pack_models", model)
        return {"ui": {"text": [Path(path).read_text()]}, "result": (model,)}


NODE_CLASS_MAPPINGS = {"TestPackModel": PackModel}
