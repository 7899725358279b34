"""Makes models of real size with random weights: Stable Diffusion 1.5, and what SDXL consists of.

They have the layouts of the real ones, and ComfyUI's own loaders recognize them. So they take as long to load and to
run, and as much memory. Their pictures mean nothing. A GPU makes all of them in seconds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from command_line import ExitCode, finish

from worker.embedded.start.source import find_source
from worker.errors import WorkerError
from worker.settings import load_settings

SD15 = "checkpoints/sd15-random.safetensors"
SDXL_UNET = "diffusion_models/sdxl-random.safetensors"
CLIP_L, CLIP_G = "text_encoders/clip-l-random.safetensors", "text_encoders/clip-g-random.safetensors"
VAE = "vae/f8-random.safetensors"
NAMES = (SD15, SDXL_UNET, CLIP_L, CLIP_G, VAE)
Shapes = Mapping[str, tuple[int, ...]]
_UNET: dict[str, Any] = {"image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320}
_SD15: dict[str, Any] = {
    "channel_mult": [1, 2, 4, 4], "num_res_blocks": [2, 2, 2, 2], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "transformer_depth_middle": 1,
    "context_dim": 768, "num_heads": 8,
}  # fmt: skip
_SDXL: dict[str, Any] = {
    "channel_mult": [1, 2, 4], "num_res_blocks": [2, 2, 2], "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "transformer_depth_middle": 10, "context_dim": 2048,
    "num_heads": -1, "num_head_channels": 64, "use_linear_in_transformer": True, "num_classes": "sequential",
    "adm_in_channels": 2816,
}  # fmt: skip
_VAE = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
    "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip


def main() -> int:
    """Make the models. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="real_checkpoints", description=__doc__.split("\n\n")[0])
    parser.add_argument("--into", type=Path, required=True, help="the folder of models to write to")
    parser.add_argument("names", nargs="*", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    options = parser.parse_args()
    return finish("real_checkpoints", lambda: make(options), {WorkerError: ExitCode.CANNOT_START})


def make(options: argparse.Namespace) -> ExitCode:
    """Make what is not there yet. Each file gets its name only when it is complete.

    Raises:
        WorkerError: there is no ComfyUI, or a setting cannot be used.
    """
    settings = load_settings()
    tree = find_source(settings.comfyui_path, settings.comfy_base_dir).path
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(tree))
    torch: Any = importlib.import_module("torch")
    importlib.import_module("comfy.cli_args").args.cpu = not torch.cuda.is_available()
    for name in options.names or NAMES:
        path = options.into / name
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        weights = _weights(torch, shapes(name, tree))
        importlib.import_module("safetensors.torch").save_file(weights, unfinished)
        unfinished.replace(path)
        print(path)
    return ExitCode.OK


def shapes(name: str, tree: Path) -> Shapes:
    """The shapes of all weights of a model by their names in the file, from ComfyUI's own modules."""
    if name == SD15:
        return {
            **_named("model.diffusion_model.", _unet(_SD15)),
            **_named("first_stage_model.", _vae()),
            **_named("cond_stage_model.transformer.", _clip(tree / "comfy" / "sd1_clip_config.json")),
        }
    if name == SDXL_UNET:
        return _named("", _unet(_SDXL))
    if name == VAE:
        return _named("", _vae())
    config = "clip_config_bigg.json" if name == CLIP_G else "sd1_clip_config.json"
    return _named("", _clip(tree / "comfy" / config))


def _unet(config: Mapping[str, Any]) -> Any:
    module = importlib.import_module("comfy.ldm.modules.diffusionmodules.openaimodel")
    return module.UNetModel(**_UNET, **config, use_spatial_transformer=True, **_on_no_device())


def _vae() -> Any:
    with importlib.import_module("torch").device("meta"):
        return importlib.import_module("comfy.ldm.models.autoencoder").AutoencoderKL(ddconfig=_VAE, embed_dim=4)


def _clip(config: Path) -> Any:
    options = _on_no_device()
    return importlib.import_module("comfy.clip_model").CLIPTextModel(
        json.loads(config.read_text(encoding="utf-8")), options["dtype"], options["device"], options["operations"]
    )


def _on_no_device() -> dict[str, Any]:
    operations = importlib.import_module("comfy.ops").disable_weight_init
    return {"operations": operations, "device": "meta", "dtype": importlib.import_module("torch").float16}


def _named(prefix: str, module: Any) -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(weight.shape) for name, weight in module.state_dict().items()}


def _weights(torch: Any, wanted: Shapes) -> dict[str, Any]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(0)
    return {name: _random(torch, name, shape, generator).cpu() for name, shape in wanted.items()}


def _random(torch: Any, name: str, shape: tuple[int, ...], generator: Any) -> Any:
    """Weights that keep the signal's size: 0 for biases, 1 for norms, and random ones scaled by their fan-in."""
    if name.endswith("position_ids"):
        return torch.arange(shape[-1]).expand(shape).contiguous()
    if name.endswith("bias"):
        return torch.zeros(shape, dtype=torch.float16)
    if len(shape) < 2:
        return torch.ones(shape, dtype=torch.float16)
    scale = 0.02 if "embedding" in name else float(torch.Size(shape[1:]).numel()) ** -0.5
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float16) * scale


if __name__ == "__main__":
    sys.exit(main())
