"""Shows a job the model files that were fetched for it, in ComfyUI's model folders, while it has its turn.

Each of ComfyUI's model folders gets a further path, an empty folder of the worker. While a job has its turn, links to
its files lie there, so that packs which look themselves find them as well. Lists have them only for code of this job.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from worker.models.fetched import FetchedModels, is_fetched

_seen: ContextVar[Mapping[str, tuple[str, ...]]] = ContextVar("worker_fetched_models", default={})  # noqa: B039
_TIME_S = 1_000_000_000.0


class ShownModels:
    """The folders, below ``root``.

    Args:
        folder_paths: ComfyUI's module.
        root: a folder of this process.
    """

    def __init__(self, folder_paths: Any, root: Path) -> None:
        self._folder_paths, self._root = folder_paths, root
        self._is_on = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Let ComfyUI look there. Call it when all packs are imported. A second call does nothing."""
        with self._lock:
            if self._is_on:
                return
            self._is_on = True
            for name, (paths, extensions) in list(self._folder_paths.folder_names_and_paths.items()):
                if not isinstance(paths, list):  # VideoHelperSuite puts a tuple here, to which nothing can be added.
                    self._folder_paths.folder_names_and_paths[name] = list(paths), extensions
                self._folder_paths.add_model_folder_path(name, str(self._root / name))
            _list_per_job(self._folder_paths)

    @contextlib.contextmanager
    def of_job(self, models: FetchedModels) -> Iterator[None]:
        """Within this context the job's files are there. Only one job at a time may be in it."""
        if not models.files:
            yield
            return
        self.begin()
        names: dict[str, tuple[str, ...]] = {}
        for file in models.files:
            names[file.folder] = (*names.get(file.folder, ()), file.name)
        token = _seen.set(names)
        try:
            for file in models.files:
                link = self._root / file.folder / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.path)
            self._as_before(names)
            yield
        finally:
            _seen.reset(token)
            for folder in names:
                with contextlib.suppress(FileNotFoundError):
                    for entry in list((self._root / folder).iterdir()):
                        shutil.rmtree(entry, ignore_errors=True)
            self._as_before(names)

    def _as_before(self, folders: Mapping[str, object]) -> None:
        """Give the folders the time that they had, so that ComfyUI does not list all files of a kind anew."""
        for folder in folders:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._root / folder, (_TIME_S, _TIME_S))


def _list_per_job(folder_paths: Any) -> None:
    """Let ComfyUI's lists have fetched files for code of their own job only."""
    cached = folder_paths.cached_filename_list_

    def cached_filename_list_(folder_name: str) -> Any:
        found = cached(folder_name)
        folder = folder_paths.map_legacy(folder_name)
        if found is None:
            found = folder_paths.filename_list_cache[folder] = folder_paths.get_filename_list_(folder)
        own = _seen.get().get(folder, ())
        names = [name for name in found[0] if not is_fetched(name)]
        return sorted((*names, *own)) if own else names, *found[1:]

    folder_paths.cached_filename_list_ = cached_filename_list_
