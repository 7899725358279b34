"""Handles what differs between versions of ComfyUI. Each function looks at ComfyUI's code, not at a version number.

0.3.75 and 0.33.0 were tried. What 0.38.1 does otherwise is known from its source only: the tests make these changes to
a copy of a version that was tried.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from worker.errors import SettingsError, StartError

TRIED = ("0.3.75", "0.33.0")
READ = "0.38.1"  # Nobody has run it with this worker.
EXTRA_MODEL_PATHS, EXTRA_PATHS = "extra_model_paths.yaml", "extra_paths.yaml"


def untried(version: str) -> str | None:
    """A warning if this version of ComfyUI was not tried; None if it was."""
    if version in TRIED:
        return None
    return (
        f"ComfyUI {version} was not tried with this worker ({' and '.join(TRIED)} were): "
        "compare what your workflows give with a ComfyUI server of this version"
    )


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


def leave_assets_out(args: Any) -> None:
    """Turn the database of assets off, unless the operator gave ``--enable-assets``. It is on by default in 0.38.1."""
    if hasattr(args, "disable_assets") and not args.enable_assets:
        args.disable_assets = True


def make_asset_manager(main: Any) -> Any:
    """The object that 0.38.1 gives to its server, its executor and its database. Older versions have none: None."""
    make = getattr(main, "default_asset_manager", None)
    if make is None:
        return None
    manager = make()
    main.feature_flags.SERVER_FEATURE_FLAGS["assets"] = manager.enabled
    return manager


def with_assets(function: Callable[..., Any], *arguments: Any, manager: Any) -> Any:
    """Call ``function`` of ComfyUI, with the asset ``manager`` as well if it takes one."""
    takes_manager = "asset_manager" in inspect.signature(function).parameters
    return function(*arguments, manager) if takes_manager else function(*arguments)


def has_assets(main: Any) -> bool:
    """Whether the database of assets is on. ComfyUI then opens each file as soon as a node has named it."""
    manager = getattr(main.server.PromptServer.instance, "asset_manager", None)
    return bool(getattr(main.args, "enable_assets", False) if manager is None else manager.enabled)


def set_up_assets(main: Any) -> None:
    """Set up the database of assets if it is on.

    Raises:
        StartError: ComfyUI cannot use the database. It logs why, and then calls ``sys.exit``.
    """
    if not has_assets(main):
        return
    try:
        with_assets(main.setup_database, manager=getattr(main.server.PromptServer.instance, "asset_manager", None))
    except SystemExit:
        raise StartError(
            "ComfyUI could not set up its database of assets; its log says why. "
            "It is not needed: COMFY_ARGS without --enable-assets"
        ) from None
    Path(main.folder_paths.get_temp_directory()).mkdir(exist_ok=True)  # 0.38.1 removes this folder with its content.


@contextlib.contextmanager
def running(server: Any, extra_data: Mapping[str, Any]) -> Iterator[None]:
    """What ``prompt_worker`` of 0.38.1 does around a prompt: nodes find its metadata, and no assets are looked for."""
    manager = getattr(server, "asset_manager", None)
    server.workflow_metadata = extra_data.get("workflow_metadata", {})
    if manager is not None:
        manager.pause_background_scan()
    try:
        yield
    finally:
        if manager is not None:
            manager.resume_background_scan()
        server.workflow_metadata = {}


def reads_saved_media(main: Any) -> bool:
    """Whether ComfyUI looks into each file that a node has named, for its size, as 0.38.1 does."""
    return hasattr(main.execution, "enrich_output_with_media_metadata")


def wants_partner_nodes(args: Any) -> bool:
    """Whether the nodes of paid services are loaded. In 0.38.1 more flags than one turn them off, through a new one."""
    return not (args.disable_partner_nodes if hasattr(args, "disable_partner_nodes") else args.disable_api_nodes)


def disable_nodes(main: Any) -> None:
    """Remove the node classes that the operator's files name, as 0.38.1 does. Call it once all packs are loaded.

    Raises:
        SettingsError: the file of ``--disabled-nodes-config`` cannot be read.
    """
    governance, file = getattr(main, "governance", None), flag(main.args, "disabled_nodes_config")
    if governance is None:
        return
    try:
        disabled = governance.load_disabled_nodes(file) if file else set()
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"COMFY_ARGS: --disabled-nodes-config {file} cannot be used: {reason}") from None
    governance.apply_disabled_nodes(disabled)


def extra_paths_files(tree: Path) -> tuple[str, ...]:
    """Names of the files with further folders that ComfyUI in ``tree`` reads. It takes the first that it finds."""
    main = tree / "main.py"
    source = main.read_text(encoding="utf-8", errors="replace") if main.is_file() else ""
    return (EXTRA_PATHS, EXTRA_MODEL_PATHS) if f'"{EXTRA_PATHS}"' in source else (EXTRA_MODEL_PATHS,)


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
