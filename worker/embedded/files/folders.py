"""Moves a job's files into ComfyUI's folders, and everything out of them after the job.

Node objects and packs keep the paths that they saw first. So ComfyUI's folders never change, only their content does.
The input folder also holds the static files of the container image: real folders with a link for each file. So every
job can read them, and no job can replace one for the next job. (A node that opens such a link for writing changes the
static file itself. ComfyUI's own nodes write nothing there.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.engine.workspace import StateFolder, Workspace


@dataclass
class _Mirrored:
    """A folder of static files. ``files``: the source of each link, by name. ``folders``: the names of its folders.

    ``seen_ns``: its modification time when it was last complete.
    """

    files: dict[str, str]
    folders: set[str]
    seen_ns: int = 0


@dataclass
class ComfyFolders:
    """Moves a job's files to where ComfyUI looks for them, and takes all files out afterwards.

    Args:
        state: ComfyUI's folders.
        static_input: files that every job can read from the input folder.
        output_folders: folders that the output folder has before each job, for nodes that offer its folders as choices.

    Folders that packs make while they are imported are there for each job as well, since a server keeps them.
    """

    state: StateFolder
    static_input: Path
    output_folders: Sequence[str] = ()
    _mirror: dict[Path, _Mirrored] = field(default_factory=dict)
    _made: Sequence[Path] = ()

    def keep_what_packs_made(self) -> None:
        """Keep folders in the output and temp folders, and all in the input folder, for each job.

        Call it once, when the packs are imported. It mirrors the static files as well.
        """
        roots = (self.state.output, self.state.temp)
        self._made = [path for root in roots for path in root.rglob("*") if path.is_dir()]
        _move_content(self.state.input, self._packs_input)
        self.mirror_static_input()

    @property
    def _packs_input(self) -> Path:
        """What packs have put into the input folder while they were imported."""
        return self.state.root / "input-of-packs"

    def mirror_static_input(self) -> None:
        """Link the static files into the input folder, and those of packs, where no static one has their name."""
        self._mirror = {self.state.input: _Mirrored({}, set())}  # Even if there are no static files.
        for root in (self.static_input, self._packs_input):
            self._mirror_files(root)
        self._restore_input()

    def _mirror_files(self, root: Path) -> None:
        seen: set[str] = set()
        for folder, folders, files in os.walk(root, followlinks=True):
            # Links between folders may form a ring.
            folders[:] = [name for name in folders if not _seen(Path(folder) / name, seen)]
            mirrored = self._mirror.setdefault(self.state.input / Path(folder).relative_to(root), _Mirrored({}, set()))
            mirrored.folders.update(set(folders) - mirrored.files.keys())
            sources = {name: str(Path(folder) / name) for name in files if name not in mirrored.folders}
            mirrored.files = sources | mirrored.files

    def make_output_folders(self) -> None:
        """Make those folders in the output folder, and the temp folder, that each job begins with."""
        for path in (*(self.state.output / name for name in self.output_folders), *self._made):
            if not os.path.isdir(path):  # noqa: PTH112 - faster, as for each job.
                path.mkdir(parents=True, exist_ok=True)

    def bring_in(self, workspace: Workspace) -> None:
        """Move the job's input files into the input folder. For this job, they replace static files of their names."""
        for folder in (self.state.input, self.state.output, self.state.temp):
            if not os.path.isdir(folder):  # noqa: PTH112 - faster. A node may have removed the folder.
                folder.mkdir()
        if not os.path.isdir(workspace.input):  # noqa: PTH112
            return
        for folder_name, _, files in os.walk(workspace.input):
            folder = self.state.input / Path(folder_name).relative_to(workspace.input)
            if files:
                _make_folder(folder, self.state.input)
            for name in files:
                target = folder / name
                if target.is_dir():
                    shutil.rmtree(target)
                (Path(folder_name) / name).replace(target)

    def take_out(self, workspace: Workspace) -> None:
        """Move everything that the job left into its workspace, and restore the folders for the next job."""
        _move_content(self.state.output, workspace.output)
        _move_content(self.state.temp, workspace.temp)
        self.make_output_folders()
        self._take_input(workspace)

    def copy_outputs(self, workspace: Workspace) -> None:
        """Copy what the job has saved so far into its workspace, while a node that does not stop still runs.

        Files that cannot be copied, such as one that the node has just removed, are left out.
        """
        with contextlib.suppress(shutil.Error):
            shutil.copytree(self.state.output, workspace.output, copy_function=_copy_whole, dirs_exist_ok=True)

    def drop_outputs(self) -> None:
        """Remove what the job has saved so far, since the job is run again."""
        for folder in (self.state.output, self.state.temp):
            for entry in _entries(folder):
                shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else Path(entry.path).unlink()
        self.make_output_folders()

    def is_static(self, path: str) -> bool:
        """Whether ``path`` is the link to a static file."""
        place, name = os.path.split(path)
        mirrored = self._mirror.get(Path(place))
        source = mirrored.files.get(name) if mirrored else None
        return source is not None and Path(path).is_symlink() and str(Path(path).readlink()) == source

    def _take_input(self, workspace: Workspace) -> None:
        for place, mirrored in self._mirror.items():
            if _changed(place, mirrored):
                for entry in _entries(place):
                    if not _belongs(entry, mirrored):
                        target = workspace.input / place.relative_to(self.state.input) / entry.name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        _move(entry.path, str(target))
        self._restore_input()

    def _restore_input(self) -> None:
        for place, mirrored in self._mirror.items():
            if not _changed(place, mirrored):
                continue
            place.mkdir(parents=True, exist_ok=True)
            present = {entry.name for entry in _entries(place)}
            for name in mirrored.folders - present:
                (place / name).mkdir()
            for name in mirrored.files.keys() - present:
                (place / name).symlink_to(mirrored.files[name])
            mirrored.seen_ns = place.stat().st_mtime_ns


def _seen(folder: Path, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    known = real in seen
    seen.add(real)
    return known


def _changed(place: Path, mirrored: _Mirrored) -> bool:
    """Whether entries of the folder were added or removed since it was last complete."""
    try:
        return os.stat(place).st_mtime_ns != mirrored.seen_ns  # noqa: PTH116 - faster.
    except FileNotFoundError:
        return True


def _belongs(entry: os.DirEntry[str], mirrored: _Mirrored) -> bool:
    if entry.is_symlink():
        return mirrored.files.get(entry.name) == str(Path(entry.path).readlink())
    return entry.name in mirrored.folders and entry.is_dir()


def _make_folder(folder: Path, root: Path) -> None:
    """Make ``folder`` below ``root``, and the folders between. They replace static files of their names."""
    for part in [*reversed(folder.relative_to(root).parents), folder.relative_to(root)]:
        place = root / part
        if place.is_symlink():
            place.unlink()
        place.mkdir(exist_ok=True)


def _move_content(source: Path, target: Path) -> None:
    """Move everything in ``source`` into ``target``, which is made if needed."""
    entries = _entries(source)
    if entries:
        target.mkdir(exist_ok=True)
    for entry in entries:
        _move(entry.path, f"{target}/{entry.name}")


def _move(source: str, target: str) -> None:
    # With strings, since Path is slow and this runs for every file of every job.
    if os.path.isdir(target) and not os.path.islink(target):  # noqa: PTH112, PTH114
        shutil.rmtree(target)
    os.replace(source, target)  # noqa: PTH105


def _copy_whole(source: str, target: str) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError:  # For example, the disk is full.
        Path(target).unlink(missing_ok=True)
        raise


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:  # A node removed the folder.
        return []
