"""Reads the models of workflows ahead for ComfyUI in this process: ``MODEL_READAHEAD``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worker.embedded.runtime import Runtime
from worker.embedded.start.extra_paths import extra_folders
from worker.embedded.start.source import ComfySource, find_source
from worker.engine.memory_limits import free_memory
from worker.models.fetched import NO_MODELS, FetchedModels
from worker.models.readahead.assumed import AssumedModels
from worker.models.readahead.known import KnownModels
from worker.models.readahead.names import Workflow
from worker.models.readahead.read_ahead import Ahead, Models, ReadAhead
from worker.settings import Settings

_FLAG = "--models-directory"


class ModelsAhead:
    """Reads models ahead, unless ``settings`` say otherwise.

    Attributes:
        runtime: ComfyUI, once it runs. Before, files are looked for where it will most likely look.
    """

    def __init__(self, settings: Settings) -> None:
        self.runtime: Runtime | None = None
        self._settings = settings
        # The models of a server elsewhere are its own business.
        is_on = settings.model_readahead == "auto" and settings.comfy_backend == "embedded"
        self._read_ahead = ReadAhead(free_memory) if is_on else None
        self._expected = Ahead()

    def begin(self, workflow: Workflow, fetched: FetchedModels = NO_MODELS) -> Ahead:
        """Begin to read the models of ``workflow``, which may run. The caller does not wait, and nothing is raised.

        ``fetched``: what was fetched for its job.
        """
        if self._read_ahead is None:
            return Ahead()
        return self._read_ahead.begin(workflow, lambda: fetched.found_by(self._models(workflow)))

    def expect(self, workflow: Workflow) -> None:
        """``begin`` for the workflow that runs first, while ComfyUI is not loaded yet."""
        self._expected = self.begin(workflow)

    def end_expected(self) -> dict[str, float]:
        """Stop what ``expect`` began, since that workflow has run. Returns its seconds of ``read_ahead``, if any."""
        self._expected.stop()
        return self._expected.seconds()

    def close(self) -> None:
        """Stop all that is read."""
        if self._read_ahead:
            self._read_ahead.close()

    def _models(self, workflow: Workflow) -> Models:
        # To ask a class of a pack that waits would import it, on this thread.
        if self.runtime is not None and not self.runtime.waits_for_packs(workflow):
            return KnownModels(self.runtime)
        source = find_source(self._settings.comfyui_path, self._settings.comfy_base_dir)
        arguments = self._settings.comfy_args
        folders = [_models_folder(source, arguments), self._settings.network_volume_path / "models"]
        return AssumedModels(folders, extra_folders(source, arguments))


def _models_folder(source: ComfySource, comfy_args: Sequence[str]) -> Path:
    """The folder of models, which newer versions of ComfyUI let the operator choose."""
    given = [word for argument in comfy_args for word in argument.split("=", 1)]
    if _FLAG in given[:-1]:
        return Path(given[given.index(_FLAG) + 1]).absolute()
    return source.base / "models"
