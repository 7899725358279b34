"""Shows the models that RunPod has cached for the endpoint in ComfyUI's model folders: ``CACHED_MODELS``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.embedded.files.model_folders import model_folders
from worker.models.cached.hub import HUB, cached_files
from worker.models.references import CachedFile


class CachedModels:
    """The cached files, each with a link below ``root`` by which ComfyUI finds it. What is installed comes first.

    Args:
        hub: the cache, which need not be there.
        root: a folder of this process.
    """

    def __init__(self, hub: Path | None, root: Path) -> None:
        self._hub, self._root = hub, root
        self.files: tuple[CachedFile, ...] = ()

    def add_to(self, folder_paths: Any) -> None:
        """Let ComfyUI look there. Call it again after node packs are imported, since they add folders of their own."""
        if self._hub is None or not self._hub.is_dir():
            return
        self.files = tuple(cached_files(self._hub, model_folders(folder_paths, self._root)))
        for file in self.files:
            if file.folder is None:
                continue
            link = self._root / file.folder / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(file.path)
        self._add_folders(folder_paths)

    def _add_folders(self, folder_paths: Any) -> None:
        """Packs make kinds of their own from the folders of another kind, such as GGUF files of diffusion models."""
        shown = {file.folder for file in self.files if file.folder is not None}
        known: Mapping[str, Any] = folder_paths.folder_names_and_paths
        for name in sorted(shown):
            others = [kind for kind, (paths, _) in known.items() if any(Path(path).name == name for path in paths)]
            for kind in dict.fromkeys([name, *others]):
                folder_paths.add_model_folder_path(kind, str(self._root / name))

    def source(self, path: Path) -> Path:
        """The file in the cache that a link of this process stands for; other paths stay as they are."""
        return path.readlink() if path.is_relative_to(self._root) and path.is_symlink() else path


def hub_of(volume: Path | None, *, is_on: bool) -> Path | None:
    """Where the cache would be."""
    return volume / HUB if volume is not None and is_on else None
