"""Makes a checkpoint of Stable Diffusion 1's layout, small and with random weights, that ComfyUI itself can load.

The UNet has one level (25.8 M parameters), the autoencoder is TAESD's, and the text encoder has CLIP-L's shape. (It
cannot be smaller, since the loader recognizes it by its size.) As fp16 the file has 304 MB, or 2 GB with Stable
Diffusion's own UNet. Its pictures mean nothing, but they are the same for the same seed, and ComfyUI's real code makes
them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from command_line import ExitCode, finish

from worker.embedded.start.source import ComfySource, find_source
from worker.errors import WorkerError
from worker.settings import load_settings

DEFAULT_NAME = "tiny-sd.safetensors"
_SMALL = {"channel_mult": (1,), "num_res_blocks": (1,), "transformer_depth": (1,), "transformer_depth_output": (1, 1)}
_LARGE = {
    "channel_mult": (1, 2, 4, 4),
    "num_res_blocks": (2, 2, 2, 2),
    "transformer_depth": (1, 1, 1, 1, 1, 1, 0, 0),
    "transformer_depth_output": (1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0),
}


def main() -> int:
    """Make the checkpoint. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/make_tiny_checkpoint", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        help=f"the file to write (default: models/checkpoints/{DEFAULT_NAME} in COMFY_BASE_DIR)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default: 0)")
    parser.add_argument("--large", action="store_true", help="with Stable Diffusion 1's own UNet: 2 GB")
    options = parser.parse_args()
    return finish("make_tiny_checkpoint", lambda: make(options), {WorkerError: ExitCode.CANNOT_START})


def make(options: argparse.Namespace) -> ExitCode:
    """Make the checkpoint that ``options`` ask for, and print its path.

    Raises:
        WorkerError: there is no ComfyUI, or a setting cannot be used.
    """
    settings = load_settings()
    source = find_source(settings.comfyui_path, settings.comfy_base_dir)
    path = options.out or source.base / "models" / "checkpoints" / DEFAULT_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(source, path, options.seed, _LARGE if options.large else _SMALL)
    print(path)
    return ExitCode.OK


def write_checkpoint(source: ComfySource, path: Path, seed: int, levels: Mapping[str, Sequence[int]]) -> None:
    """Write the checkpoint to ``path``. The file gets this name only when it is complete.

    ``levels``: ``_SMALL`` or ``_LARGE``, the levels of the UNet.
    """
    torch = importlib.import_module("torch")
    generator = torch.Generator().manual_seed(seed)
    weights = {name: _random(torch, name, shape, generator) for name, shape in _shapes(source, levels).items()}
    unfinished = path.with_suffix(".unfinished")
    importlib.import_module("safetensors.torch").save_file(weights, unfinished)
    unfinished.chmod(0o644)
    unfinished.replace(path)


def _shapes(source: ComfySource, levels: Mapping[str, Sequence[int]]) -> Mapping[str, tuple[int, ...]]:
    """The shapes of all weights by name, from ComfyUI's own modules."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(source.path))
    importlib.import_module("comfy.cli_args").args.cpu = True
    ops = importlib.import_module("comfy.ops").disable_weight_init
    torch = importlib.import_module("torch")
    unet = importlib.import_module("comfy.ldm.modules.diffusionmodules.openaimodel").UNetModel(
        image_size=32, in_channels=4, out_channels=4, model_channels=320, transformer_depth_middle=1, context_dim=768,
        num_heads=8, use_spatial_transformer=True, operations=ops, device="meta", dtype=torch.float16,
        **{name: list(numbers) for name, numbers in levels.items()},
    )  # fmt: skip
    config = json.loads((source.path / "comfy" / "sd1_clip_config.json").read_text(encoding="utf-8"))
    clip = importlib.import_module("comfy.clip_model").CLIPTextModel(config, torch.float16, "meta", ops)
    autoencoder = importlib.import_module("comfy.taesd.taesd").TAESD()
    return {
        **_named("model.diffusion_model.", unet),
        **_named("first_stage_model.", autoencoder),
        **_named("cond_stage_model.transformer.", clip),
    }


def _named(prefix: str, module: Any) -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(weight.shape) for name, weight in module.state_dict().items()}


def _random(torch: Any, name: str, shape: tuple[int, ...], generator: Any) -> Any:
    """Weights that keep the signal's size: 0 for biases, 1 for norms, and random ones scaled by their fan-in."""
    if name.endswith(("bias", "vae_shift")):
        return torch.zeros(shape, dtype=torch.float16)
    if len(shape) < 2:
        return torch.ones(shape, dtype=torch.float16)
    fan_in = int(torch.Size(shape[1:]).numel())
    scale = 0.02 if "embedding" in name else (1.5 / fan_in) ** 0.5
    return (torch.randn(shape, generator=generator) * scale).half()


if __name__ == "__main__":
    sys.exit(main())
