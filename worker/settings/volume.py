"""Settings of the network volume, which holds models and node packs, and of the hosts where models come from.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, SecretStr

from worker.settings.field import setting
from worker.settings.readers import AbsolutePath, Boolean, ModelSources


class VolumeSettings(BaseModel):
    """Where the network volume is, what is loaded from it, and the keys for the hosts of models."""

    network_volume_path: AbsolutePath = setting(
        Path("/runpod-volume"),
        "a folder",
        "Where the network volume is mounted: ComfyUI reads every kind of model from its `models/` as well.",
    )
    network_volume_debug: Boolean = setting(
        False,
        "true or false",
        "Log what lies on the network volume and what ComfyUI finds of it: at the start, and with each job that "
        "misses a model.",
    )
    volume_custom_nodes: Boolean = setting(
        False, "true or false", "Load the node packs in `custom_nodes/` of the network volume as well."
    )
    model_readahead: Literal["auto", "off"] = setting(
        "auto",
        "auto or off",
        "Read the model files of a job, and of `WARMUP_WORKFLOW`, from the volume or disk with many threads, before "
        "ComfyUI asks for them.",
    )
    hf_token: SecretStr | None = setting(
        None,
        "a token of Hugging Face",
        "For models on huggingface.co that are not public. The worker sends it there only. Node packs see it as well, "
        "unless `HIDE_ENV` names it.",
    )
    civitai_token: SecretStr | None = setting(
        None,
        "an API key of Civitai",
        "For models on civitai.com. The worker sends it there only. Node packs see it as well, unless `HIDE_ENV` names "
        "it.",
    )
    comfy_registry_url: str = setting(
        "https://api.comfy.org",
        "an http(s) address",
        "The Comfy Registry that `prepare` and `scripts/install-nodes` ask for node packs.",
    )
    model_sources: ModelSources = setting(
        (),
        "hosts with or without a path, such as huggingface.co/Comfy-Org, with commas between them",
        "From where jobs may bring models: a job's `models`, or the list in a workflow of the editor, names addresses, "
        "and what is missing is fetched from there before the job has its turn. A path counts by whole segments. Only "
        "https. Empty: nothing is fetched.",
    )
    model_cache_dir: AbsolutePath | None = setting(
        None,
        "a folder",
        "Where models are kept that jobs bring. Default: `.cache/comfy-worker/models` on the network volume if there "
        "is one, otherwise in the home folder.",
    )
    model_cache_gb: float = setting(
        50.0,
        "a number above 0",
        "GB that these models may take on the disk. Those that were used least recently make room, unless a worker "
        "needs them.",
        gt=0,
        allow_inf_nan=False,
    )
    model_fetch_timeout_s: float = setting(
        600.0,
        "a number above 0",
        "Seconds that a job may wait for the models that it brings. What has come by then stays, and the next job goes "
        "on there.",
        gt=0,
        allow_inf_nan=False,
    )
    model_pickles: Literal["refuse", "allow"] = setting(
        "refuse",
        "refuse or allow",
        "Whether jobs may bring models in formats that can run code when they are loaded (`.ckpt`, `.pt`, `.pth`, "
        "`.bin`, `.pkl`).",
    )
    cached_models: Literal["auto", "off"] = setting(
        "auto",
        "auto or off",
        "Show the models that RunPod has cached for the endpoint (`huggingface-cache/hub` below "
        "`NETWORK_VOLUME_PATH`) in ComfyUI's model folders.",
    )
