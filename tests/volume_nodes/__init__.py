"""A node pack on the network volume, with a model folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import folder_paths

folder_paths.add_model_folder_path("pack_models", str(Path(folder_paths.models_dir) / "pack_models"))
# As VideoHelperSuite's, whose folders stand in a tuple.
folder_paths.folder_names_and_paths["pack_formats"] = ((), {".json"})


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


class KeepsList:
    """Asks for its list once."""

    CATEGORY = "tests"
    FUNCTION = "nothing"
    RETURN_TYPES = ()
    _kept: ClassVar[list[str]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name.
        if not cls._kept:
            cls._kept.extend(["None", *folder_paths.get_filename_list("loras")])
        return {"required": {"lora": (cls._kept,)}}

    def nothing(self, lora: str) -> tuple[()]:
        return ()


NODE_CLASS_MAPPINGS = {"TestPackModel": PackModel, "TestKeepsList": KeepsList}
