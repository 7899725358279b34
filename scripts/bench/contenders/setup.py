"""What all contenders share, and the environment of their processes."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from worker.embedded.start.source import ComfySource
from worker.settings import Settings

EMBEDDED, WEBSOCKET = "embedded", "websocket"
# The benchmark's jobs stay on this machine, whatever buckets and job API the user's worker has.
_LEFT_OUT = ("BUCKET_", "RUNPOD_", "COMFY_BACKEND", "COMFY_HOST", "SAVE_METADATA", "OUTPUT_", "MAX_RESPONSE_MB")


@dataclass(frozen=True)
class Setup:
    """What all contenders share.

    Attributes:
        settings: the environment's.
        comfyui: the ComfyUI tree and the base directory.
        models: a folder with further models.
        folder: where logs go.
        known: checkout of the public worker-comfyui.
        against: another checkout of this project.
    """

    settings: Settings
    comfyui: ComfySource
    models: Path | None
    folder: Path
    known: Path | None = None
    against: Path | None = None

    def flags(self) -> tuple[str, ...]:
        """ComfyUI's flags, without those that every contender gets anyway."""
        if self.models is None:
            return self.settings.comfy_args
        config = self.folder / "model_paths.yaml"
        paths = {path.name: path.name for path in self.models.iterdir()}
        config.write_text(json.dumps({"benchmark": {"base_path": str(self.models), **paths}}))  # JSON is YAML, too.
        return (*self.settings.comfy_args, "--extra-model-paths-config", str(config))

    def environment(self, backend: str, **more: str) -> dict[str, str]:
        """All variables of a process with that backend, and ``more``."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
        return kept | {
            "COMFYUI_PATH": str(self.comfyui.path),
            "COMFY_BASE_DIR": str(self.comfyui.base),
            "COMFY_ARGS": shlex.join(self.flags()),
            "COMFY_LOG_LEVEL": self.settings.quiet().comfy_log_level,
            "COMFY_BACKEND": backend,
            **more,
        }
