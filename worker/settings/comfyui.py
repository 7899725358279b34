"""Settings of the ComfyUI that runs the workflows, in this process or on a server elsewhere.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, SecretStr

from worker.settings.field import setting
from worker.settings.readers import AbsolutePath, Boolean, Flags, LogLevel, ServerAddress


class ComfyUiSettings(BaseModel):
    """The ComfyUI that runs the workflows, and how its server is reached."""

    comfy_log_level: LogLevel = setting(
        "DEBUG",
        "DEBUG, INFO, WARNING, ERROR or CRITICAL",
        "How much ComfyUI and its nodes log. `run`, `check` and the Python class use WARNING unless it is set.",
    )
    comfy_org_api_key: SecretStr | None = setting(
        None,
        "a Comfy.org API key",
        "Key for ComfyUI's API nodes, sent with every workflow; a request's own `comfy_org_api_key` wins.",
    )
    comfy_backend: Literal["embedded", "websocket"] = setting(
        "embedded",
        "embedded or websocket",
        "`embedded` runs ComfyUI in this process; `websocket` runs jobs on the ComfyUI server at `COMFY_HOST`.",
    )
    comfy_host: ServerAddress = setting(
        "127.0.0.1:8188",
        "host:port, or http(s)://host:port",
        "The ComfyUI server of `COMFY_BACKEND=websocket`.",
    )
    websocket_reconnect_attempts: int = setting(
        5,
        "a whole number, 0 or above",
        "How often to connect again when the connection drops while a workflow runs; 0 gives up at once.",
        ge=0,
    )
    websocket_reconnect_delay_s: float = setting(
        3.0, "a number, 0 or above", "Seconds between these attempts.", ge=0, allow_inf_nan=False
    )
    websocket_trace: Boolean = setting(
        False, "true or false", "Log every frame of the websocket, to diagnose the connection."
    )
    comfy_api_available_interval_ms: int = setting(
        50, "a whole number above 0", "Milliseconds between attempts to reach a server that does not answer.", gt=0
    )
    comfy_api_available_max_retries: int = setting(
        0,
        "a whole number, 0 or above",
        "Attempts to reach a server that does not answer. 0: at the start for as long as it takes, with a job for "
        "two minutes.",
        ge=0,
    )
    comfyui_path: Path | None = setting(
        None,
        "a folder that holds ComfyUI's main.py",
        "The ComfyUI tree to run, instead of `vendor/ComfyUI` or the packaged copy.",
    )
    comfy_base_dir: Path | None = setting(
        None,
        "a folder",
        "Where `models/`, `custom_nodes/` and the static `input/` are read from. Default: the ComfyUI tree, "
        "or `comfy_base/` in the project for the packaged copy.",
    )
    defer_imports: Literal["auto", "off"] = setting(
        "auto",
        "auto or off",
        "`auto` imports large packages and ComfyUI's own node files when a job first needs them, so that the start is "
        "shorter. `off` imports everything at the start.",
    )
    lazy_custom_nodes: Boolean = setting(
        False,
        "true or false",
        "Import a node pack when a job first needs one of its classes, so that the start is shorter. This takes the "
        "index that `python -m worker index` makes; without it, or if packs have changed since, all are imported at "
        "the start.",
    )
    lazy_idle_import: Boolean = setting(
        False,
        "true or false",
        "With `LAZY_CUSTOM_NODES`, import the other node packs while no job is there, one after the other.",
    )
    bytecode_cache: Literal["auto", "off"] = setting(
        "auto",
        "auto or off",
        "Keep the compiled code of ComfyUI's and the node packs' files that are not compiled, so that the next start "
        "need not compile them again.",
    )
    editor_dir: AbsolutePath | None = setting(
        None,
        "a folder that can be written",
        "Where `python -m worker editor` keeps the page's settings, uploads and results. Default: `editor/` on the "
        "network volume, or `~/.local/share/comfy-worker/editor`.",
    )
    comfy_args: Flags = setting(
        (),
        "ComfyUI's command line flags, quoted as in a shell",
        "Further flags for ComfyUI, for example `--highvram --fast`.",
    )
