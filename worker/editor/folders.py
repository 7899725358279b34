"""Makes the editor's own folder, which stays: the page's settings, uploaded files and what it has made.

ComfyUI saves workflows below its user folder. There is a link in their place, to the folder in which the worker looks
for workflows by name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.errors import StartError
from worker.settings import Settings

_ON_VOLUME = "editor"
_IN_HOME = ".local/share/comfy-worker/editor"


@dataclass(frozen=True)
class EditorFolder:
    """The editor's own folder.

    Attributes:
        root: ``input/``, ``output/`` and ``user/`` are in it.
        workflows: where the page saves workflows.
        runs_by_name: whether the worker finds those workflows by name.
    """

    root: Path
    workflows: Path
    runs_by_name: bool

    def flags(self) -> tuple[str, ...]:
        """ComfyUI's flags for this folder."""
        return tuple(f"--{name}-directory={self.root / name}" for name in ("input", "output", "user"))

    def remarks(self, volume: Path | None) -> Iterator[str]:
        """A warning for each thing about saved workflows that an operator has probably not meant."""
        if not self.runs_by_name:
            yield f"WORKFLOWS_DIR is not set: workflows are saved in {self.workflows}, and do not run by name"
        elif volume is not None and not self.workflows.resolve().is_relative_to(volume.resolve()):
            yield (
                f"workflows are saved in {self.workflows}, which is not on the network volume: to keep them there, "
                f"set WORKFLOWS_DIR={volume / 'workflows'}"
            )
        if not os.access(self.workflows, os.W_OK):
            yield f"{self.workflows} cannot be written: the page can open workflows, and save none"


def open_folder(settings: Settings, volume: Path | None, static_input: Path) -> EditorFolder:
    """Make what is missing in the editor's own folder. Nothing that is there is changed, but for the link.

    Args:
        settings: they name the folder, and that of the workflows.
        volume: the network volume, or None. Without ``EDITOR_DIR``, it holds the folder.
        static_input: the files in it are copied to where the page can choose them.

    Raises:
        StartError: the folder, or the link in it, cannot be made.
    """
    root = settings.editor_dir or _default_root(volume)
    workflows = settings.workflows_dir or root / "workflows"
    try:
        for folder in (root / "input", root / "output", root / "user" / "default"):
            folder.mkdir(parents=True, exist_ok=True)
        _copy_missing(static_input, root / "input")
    except OSError as error:
        raise StartError(f"The editor's folder {root} cannot be made ({error.strerror}): set EDITOR_DIR") from None
    try:
        workflows.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"WORKFLOWS_DIR={str(workflows)!r} cannot be made ({error.strerror})") from None
    _link(root / "user" / "default" / "workflows", workflows)
    return EditorFolder(root, workflows, settings.workflows_dir is not None)


def _default_root(volume: Path | None) -> Path:
    if volume is not None and os.access(volume, os.W_OK):
        return volume / _ON_VOLUME
    try:
        return Path.home() / _IN_HOME
    except RuntimeError:  # Some users have no home.
        raise StartError("There is no home folder for the editor's files: set EDITOR_DIR") from None


def _link(place: Path, target: Path) -> None:
    """Let ``place`` be a link to ``target``."""
    try:
        if place.is_symlink():
            place.unlink()
        elif place.is_dir() and not any(place.iterdir()):
            place.rmdir()
        place.symlink_to(target.absolute(), target_is_directory=True)
    except FileExistsError:
        raise StartError(f"{place} holds files: move them to {target}, and remove the folder") from None
    except OSError as error:
        raise StartError(f"{place} cannot become a link ({error.strerror}): set EDITOR_DIR to a local folder") from None


def _copy_missing(source: Path, target: Path) -> None:
    """Copies, and no links: the page may write over a file, and ComfyUI's tree must stay as it is.

    A file that cannot be read is left out.
    """

    def copy(given: str, place: str) -> None:
        if not os.path.lexists(place):
            shutil.copy2(given, place)

    def rings(folder: str, names: list[str]) -> list[str]:
        here = Path(folder).resolve()
        return [name for name in names if here.is_relative_to((here / name).resolve())]

    if source.is_dir() and source.resolve() != target.resolve():
        with contextlib.suppress(shutil.Error):
            shutil.copytree(source, target, copy_function=copy, ignore=rings, dirs_exist_ok=True)
