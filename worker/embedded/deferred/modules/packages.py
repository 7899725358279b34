"""Which modules are deferred.

Each was looked at: nothing that ComfyUI does at its start needs it, and its import changes nothing that other code
sees, except for torchvision's operators.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULES = (
    # Large packages that ComfyUI's core imports for a few of its models and samplers.
    "torchvision", "torch._dynamo", "scipy.stats", "scipy.integrate", "scipy.ndimage", "kornia", "spandrel", "torchsde",
    # The code of models and text encoders. A job needs that of its own model.
    "comfy.ldm.*", "comfy.text_encoders.*", "comfy.sd1_clip", "comfy.sdxl_clip", "comfy.clip_model",
)  # fmt: skip
# What ``from torchvision import transforms`` gives are modules, and stays deferred.
SUBMODULES = ("torchvision.transforms", "torchvision.ops", "torchvision.models")


def register_torchvision_ops(torch: Any) -> None:
    """Load torchvision's library, as importing torchvision does: saved models use its operators by name.

    Args:
        torch: the ``torch`` module.
    """
    spec = importlib.util.find_spec("torchvision")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for library in sorted(Path(folder).glob("_C*.so")):
            with suppress(OSError, ImportError):
                torch.ops.load_library(str(library))
