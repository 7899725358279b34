"""Handles what differs between versions of ComfyUI. Each function looks at ComfyUI's code, not at a version number.

The versions named here are those that were tried: 0.3.75 and 0.33.0.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import Any

from PIL import Image


def checks_paths_itself(folder_paths: Any) -> bool:
    """Whether ComfyUI refuses names that leave their folder. 0.33.0 does; in 0.3.75 ``LoadImage`` reads any file."""
    return hasattr(folder_paths, "is_within_directory")


def successor(main: Any, class_type: str) -> str | None:
    """The class that runs instead of a removed one, or None. 0.33.0 knows some; 0.3.75 knows none."""
    replacements = getattr(main.server.PromptServer.instance, "node_replace_manager", None)
    found = replacements.get_replacement(class_type) if replacements is not None else None
    return str(found[0].new_node_id) if found else None


def hands_images_on(save_image: Any) -> bool:
    """Whether a SaveImage node has an output: it has one in 0.33.0 and none in 0.3.75."""
    return bool(save_image.RETURN_TYPES)


def read_grey_of_16_bits(main: Any) -> None:
    """Let LoadImage of 0.3.75 read grey pictures of 16 bits, which become white there. 0.33.0 reads them with FFmpeg.

    That LoadImage scales pictures of Pillow's mode ``I``, but Pillow opens these as ``I;16``.
    """
    if "mode == 'I'" not in inspect.getsource(main.nodes.LoadImage.load_image):
        return
    helpers: Any = importlib.import_module("node_helpers")
    original = helpers.pillow

    @functools.wraps(original)
    def pillow(function: Any, argument: Any) -> Any:
        picture = original(function, argument)
        # A picture that is only opened may have further pages, which a conversion would lose.
        is_deep = function is not Image.open and getattr(picture, "mode", "").startswith("I;16")
        return picture.convert("I") if is_deep else picture

    helpers.pillow = pillow


def choose_cudnn_algorithms(main: Any) -> None:
    """Call ``set_cudnn_benchmark``, as ``main.start_comfyui`` of 0.33.0 does. 0.3.75 has no such function."""
    if hasattr(main.comfy.model_management, "set_cudnn_benchmark"):
        main.comfy.model_management.set_cudnn_benchmark()


def set_up_assets(main: Any) -> None:
    """Set up the database of assets, which 0.33.0 has with ``--enable-assets``. 0.3.75 has none."""
    if getattr(main.args, "enable_assets", False):
        main.setup_database()


def has_datasets(folder_paths: Any) -> bool:
    """Whether there is a model folder for datasets, into which nodes write. 0.33.0 has one; 0.3.75 has none."""
    return "datasets" in folder_paths.folder_names_and_paths


def hidden_input_name(kind: Any) -> str:
    """The name of a hidden input: a text, or for nodes of 0.33.0's newer interface a member of an enumeration."""
    return str(getattr(kind, "value", kind))


def flag(args: Any, name: str) -> Any:
    """A flag of ComfyUI; None if a version does not have it. 0.3.75 and 0.33.0 have all that are used here."""
    return getattr(args, name, None)


def inputs_for(execution: Any, node_class: Any, given: Any) -> dict[str, Any]:
    """The inputs that a node class has for the ``given`` ones: in 0.33.0 they can grow; in 0.3.75 they are fixed."""
    inputs = node_class.INPUT_TYPES()
    finalize = getattr(getattr(execution, "_io", None), "get_finalized_class_inputs", None)
    if finalize is None or not issubclass(node_class, execution._ComfyNodeInternal):
        return dict(inputs)
    return dict(finalize(inputs, given)[0])
