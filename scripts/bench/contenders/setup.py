"""``Setup``: what all contenders share, and the environment of their processes."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from worker.embedded.start.source import ComfySource
from worker.settings import Settings

EMBEDDED, WEBSOCKET = "embedded", "websocket"
# These variables are left out, so that the benchmark's jobs do not use the user's bucket, job API or ComfyUI server.
_LEFT_OUT = ("BUCKET_", "RUNPOD_", "COMFY_BACKEND", "COMFY_HOST", "SAVE_METADATA", "OUTPUT_", "MAX_RESPONSE_MB")


@dataclass(frozen=True)
class Setup:
    """What all contenders share.

    Attributes:
        settings: the settings in the environment.
        comfyui: the ComfyUI tree and the base directory.
        models: a folder with further models, or None.
        folder: the folder for logs.
        known: a checkout of the public worker-comfyui, or None.
        against: another checkout of this project, or None.
        against_env: variables of its processes' environment alone.
    """

    settings: Settings
    comfyui: ComfySource
    models: Path | None
    folder: Path
    known: Path | None = None
    against: Path | None = None
    against_env: dict[str, str] = field(default_factory=dict)

    def flags(self) -> tuple[str, ...]:
        """ComfyUI's flags that the user and the further models add."""
        if self.models is None:
            return self.settings.comfy_args
        config = self.folder / "model_paths.yaml"
        paths = {path.name: path.name for path in self.models.iterdir()}
        config.write_text(json.dumps({"benchmark": {"base_path": str(self.models), **paths}}))  # JSON is YAML, too.
        return (*self.settings.comfy_args, "--extra-model-paths-config", str(config))

    def environment(self, backend: str, **more: str) -> dict[str, str]:
        """All variables for a process that uses ``backend``, with ``more``."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
        return kept | {
            "COMFYUI_PATH": str(self.comfyui.path),
            "COMFY_BASE_DIR": str(self.comfyui.base),
            "COMFY_ARGS": shlex.join(self.flags()),
            "COMFY_LOG_LEVEL": self.settings.quiet().comfy_log_level,
            "COMFY_BACKEND": backend,
            **more,
        }
