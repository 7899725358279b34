"""The built-in cases of real size: they need a GPU, and models of some GB, which are made once and kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from graphs import Graph, node

from bench.workload.cases import Case
from bench.workload.real_checkpoints import CLIP_G, CLIP_L, NAMES, SD15, SDXL_UNET, VAE
from bench.workload.workflows import PHOTO, input_photo

_PROGRAM = "bench.workload.real_checkpoints"
_SCRIPTS = Path(__file__).resolve().parents[2]
_SEEDS = 2**32
_STEPS = 20


def _sd15() -> Graph:
    return {"loaded": node("CheckpointLoaderSimple", ckpt_name=Path(SD15).name)}


def _sdxl() -> Graph:
    return {
        "unet": node("UNETLoader", unet_name=Path(SDXL_UNET).name, weight_dtype="default"),
        "clip": node("DualCLIPLoader", clip_name1=Path(CLIP_L).name, clip_name2=Path(CLIP_G).name, type="sdxl"),
        "vae": node("VAELoader", vae_name=Path(VAE).name),
    }


def _sampled(loaders: Graph, latent: Graph, seed: int, steps: int = _STEPS, denoise: float = 1.0) -> Graph:
    """A graph that samples the node ``latent``. The models are those of one loader, or of three."""
    is_one = "loaded" in loaders
    model, clip, vae = (["loaded", n] if is_one else [name, 0] for n, name in enumerate(("unet", "clip", "vae")))
    return {
        **loaders,
        **latent,
        "yes": node("CLIPTextEncode", text="a lake", clip=clip),
        "no": node("CLIPTextEncode", text="", clip=clip),
        "sampled": node("KSampler", seed=seed % _SEEDS, steps=steps, cfg=7.0, sampler_name="euler", scheduler="normal",
                        denoise=denoise, model=model, positive=["yes", 0], negative=["no", 0],
                        latent_image=["latent", 0]),
        "decoded": node("VAEDecode", samples=["sampled", 0], vae=vae),
        "saved": node("SaveImage", images=["decoded", 0], filename_prefix="ComfyUI"),
    }  # fmt: skip


def _empty(size: int, batch: int = 1) -> Graph:
    return {"latent": node("EmptyLatentImage", width=size, height=size, batch_size=batch)}


def text_to_image(loaders: Graph, size: int, seed: int, batch: int = 1, steps: int = _STEPS) -> Graph:
    """Text → ``batch`` pictures of ``size``² pixels. ``loaders``: ``_sd15()`` or ``_sdxl()``."""
    return _sampled(loaders, _empty(size, batch), seed, steps)


def image_to_image(seed: int, size: int = 1024, steps: int = _STEPS) -> Graph:
    """The photograph, enlarged or reduced to ``size``² pixels → SD1.5 with half of the noise."""
    latent = {
        "photo": node("LoadImage", image=PHOTO),
        "scaled": node(
            "ImageScale", image=["photo", 0], upscale_method="area", width=size, height=size, crop="disabled"
        ),
        "latent": node("VAEEncode", pixels=["scaled", 0], vae=["loaded", 2]),
    }
    return _sampled(_sd15(), latent, seed, steps, denoise=0.5)


_SDXL_FILES = (SDXL_UNET, CLIP_L, CLIP_G, VAE)
# No bare executor: it would load the models a second time, which could push the first copy out of the GPU.
REAL = {
    case.name: case
    for case in (
        Case("sd15-512", lambda n, _: {"workflow": text_to_image(_sd15(), 512, n)}, models=(SD15,), has_bare=False),
        Case(
            "sdxl-1024", lambda n, _: {"workflow": text_to_image(_sdxl(), 1024, n)}, models=_SDXL_FILES, has_bare=False
        ),
        Case(
            "sdxl-1024-batch4",
            lambda n, _: {"workflow": text_to_image(_sdxl(), 1024, n, batch=4)},
            models=_SDXL_FILES,
            has_bare=False,
        ),
        Case(
            "img2img-1024",
            lambda n, _: {"workflow": image_to_image(n), "images": [input_photo(n)]},
            models=(SD15,),
            has_bare=False,
        ),
    )
}


def kept_models() -> Path:
    """Where models of real size are kept for the next benchmark: some 9 GB, if all are made."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "comfy-worker-benchmark"


def make_real_models(folder: Path, names: Iterable[str]) -> None:
    """Make those of ``names`` that are of real size, unless they are kept, and link them below ``folder``.

    Raises:
        subprocess.CalledProcessError: they cannot be made.
    """
    wanted = [name for name in names if name in NAMES]
    if not wanted:
        return
    kept = kept_models()
    # In a process of its own, since it loads ComfyUI's modules.
    paths = (str(_SCRIPTS), str(_SCRIPTS.parent), os.environ.get("PYTHONPATH", ""))
    subprocess.run(
        [sys.executable, "-m", _PROGRAM, "--into", kept, *wanted],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=True,
        capture_output=True,
    )
    for name in wanted:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(kept / name)
