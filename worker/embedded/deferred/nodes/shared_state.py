"""What a node file might change for others when it is imported."""

from __future__ import annotations

import os
import sys
from typing import Any


def shared_state(main: Any) -> tuple[Any, ...]:
    """A picture of it, to compare with a later one.

    Args:
        main: ComfyUI's ``main`` module.
    """
    nodes, folder_paths, samplers = main.nodes, main.folder_paths, main.comfy.samplers
    return (
        # torch notes there where its compiler keeps files, as soon as its compiler is imported.
        {name: value for name, value in os.environ.items() if not name.startswith("TORCH")},
        list(sys.path),
        dict(nodes.EXTENSION_WEB_DIRS),
        {name: list(paths) for name, (paths, *_) in folder_paths.folder_names_and_paths.items()},
        len(main.server.PromptServer.instance.routes),
        list(main.server.PromptServer.instance.on_prompt_handlers),
        list(samplers.KSampler.SAMPLERS),
        list(samplers.KSampler.SCHEDULERS),
        [os.listdir(folder) for folder in (folder_paths.get_input_directory(), folder_paths.get_output_directory())],  # noqa: PTH208
    )
