"""Tells from the header of a model file what kind of model it is. Only the header is read."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Collection
from pathlib import Path

_MAX_HEADER = 100_000_000
_GGUF_START = 4096  # Bytes. The architecture is among the first entries.
_GGUF_KEY = b"general.architecture"
_GGUF_TEXT = (
    "t5",
    "t5encoder",
    "llama",
    "qwen2",
    "qwen2vl",
    "qwen3",
    "qwen3vl",
    "gemma",
    "gemma2",
    "gemma3",
    "mistral3",
)
_GGUF_IMAGE = (
    "flux", "sd1", "sdxl", "sd3", "aura", "cosmos", "hidream", "hyvid", "ltxv", "lumina2", "pig", "qwen_image", "wan",
)  # fmt: skip
_LORA = re.compile(r"\.lora_(?:down|up|A|B)\b|\.hada_w1_|\.lokr_w|\.lora\.(?:down|up)\.|\.diff_b$|\.oft_blocks$")
_UNET = "model.diffusion_model."
_BESIDE_UNET = ("first_stage_model.", "cond_stage_model.", "conditioner.", "text_encoders.", "vae.")


def kind_of(file: Path) -> str | None:
    """The model folder that ``file`` belongs in, such as ``loras``; None if its header does not tell."""
    try:
        if file.suffix.lower() == ".gguf":
            return _gguf_kind(file)
        keys = _safetensors_keys(file)
    except (OSError, ValueError, struct.error, RecursionError):
        return None
    return next((kind for kind, fits in _KINDS if fits(keys)), None) if keys else None


def _safetensors_keys(file: Path) -> frozenset[str]:
    with file.open("rb") as opened:
        length = struct.unpack("<Q", opened.read(8))[0]
        if length > _MAX_HEADER:
            return frozenset()
        header = json.loads(opened.read(length))
    return frozenset(header) - {"__metadata__"} if isinstance(header, dict) else frozenset()


def _gguf_kind(file: Path) -> str | None:
    with file.open("rb") as opened:
        start = opened.read(_GGUF_START)
    place = start.find(_GGUF_KEY) + len(_GGUF_KEY)
    if not start.startswith(b"GGUF") or place < len(_GGUF_KEY):
        return None
    kind, length = struct.unpack_from("<IQ", start, place)
    name = start[place + 12 : place + 12 + length].decode("utf-8", "replace") if kind == 8 and length < 64 else ""
    if name in _GGUF_IMAGE:
        return "diffusion_models"
    return "text_encoders" if name in _GGUF_TEXT else None


def _begins(*starts: str) -> Callable[[Collection[str]], bool]:
    return lambda keys: any(key.startswith(starts) for key in keys)


def _has(*names: str) -> Callable[[Collection[str]], bool]:
    return lambda keys: any(name in keys for name in names)


def _holds(*parts: str) -> Callable[[Collection[str]], bool]:
    return lambda keys: any(part in key for key in keys for part in parts)


# The first that fits counts.
_KINDS: tuple[tuple[str, Callable[[Collection[str]], bool]], ...] = (
    ("loras", lambda keys: any(map(_LORA.search, keys)) or _begins("lora_unet_", "lora_te")(keys)),
    ("checkpoints", lambda keys: _begins(_UNET)(keys) and _begins(*_BESIDE_UNET)(keys)),
    (
        "controlnet",
        _begins(
            "control_model.",
            "controlnet_",
            "input_hint_block.",
            "zero_convs.",
            "controlnet_blocks.",
            "control_layers.",
            "control_blocks.",
        ),
    ),
    ("diffusion_models", _begins(_UNET)),
    ("style_models", _begins("redux_up.", "style_embedding")),
    ("embeddings", lambda keys: len(keys) <= 4 and _has("emb_params", "string_to_param", "clip_g", "clip_l")(keys)),
    (
        "clip_vision",
        lambda keys: (
            _begins("vision_model.", "visual.")(keys) and not _holds("text_model", "layers.0.mlp.gate_proj")(keys)
        ),
    ),
    ("audio_encoders", _holds("feature_extractor.conv_layers.", "encoder.layer_norm_for_extract")),
    (
        "text_encoders",
        _holds(
            "text_model.encoder.layers.",
            ".SelfAttention.q.weight",
            "model.layers.0.self_attn.",
            "transformer.resblocks.0.attn",
            "model.embed_tokens.weight",
            "language_model.layers.",
        ),
    ),
    (
        "vae",
        lambda keys: _begins(
            "decoder.conv_in.",
            "decoder.conv1.",
            "decoder.up.",
            "decoder.up_blocks.",
            "first_stage_model.",
            "vae.decoder.",
            "decoder.middle.",
            "encoder.conv_in.",
            "pretransform.",
        )(keys),
    ),
    (
        "upscale_models",
        _has(
            "conv_first.weight",
            "model.0.weight",
            "body.0.weight",
            "model.1.sub.0.RDB1.conv1.0.weight",
            "params_ema",
            "layers.0.residual_group.blocks.0.norm1.weight",
        ),
    ),
    (
        "diffusion_models",
        _begins(
            "double_blocks.",
            "single_blocks.",
            "joint_blocks.",
            "transformer_blocks.",
            "input_blocks.",
            "blocks.0.self_attn.",
            "blocks.0.attn",
            "noise_refiner.",
            "context_refiner.",
            "double_layers.",
            "net.blocks.",
            "img_in.",
            "x_embedder.",
            "patch_embedding.",
            "single_transformer_blocks.",
            "down_blocks.",
        ),
    ),
)
