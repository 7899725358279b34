"""Makes and removes the folders for files: ComfyUI's, which stay the same, and one for each job.

ComfyUI's input, output and temp folders never change while the process lives, since node objects keep the paths that
they saw first. A job's files lie in the job's own folder. They are in ComfyUI's folders only while its graph runs.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from worker.errors import StartError

_PREFIX = "comfy-worker-"
_SHM = Path("/dev/shm")  # noqa: S108 - folders in it are made by mkdtemp.
_SHM_MIN_FREE = 2 * 1024**3
_SWEEP_AGE_S = 60
_state: StateFolder | None = None
_state_lock = threading.Lock()


@dataclass(frozen=True)
class StateFolder:
    """The process's own folder. If the process is killed, the next worker removes the folder."""

    root: Path
    _lock: int
    _owner: int = field(default_factory=os.getpid)

    @cached_property
    def input(self) -> Path:
        """The folder that LoadImage reads from."""
        return self.root / "input"

    @cached_property
    def output(self) -> Path:
        """The folder that SaveImage writes to."""
        return self.root / "output"

    @cached_property
    def temp(self) -> Path:
        """The folder that PreviewImage writes to."""
        return self.root / "temp"

    @cached_property
    def user(self) -> Path:
        """The folder of ComfyUI's user data."""
        return self.root / "user"

    @cached_property
    def kept(self) -> Path:
        """The folder with the output files of nodes whose results ComfyUI still has in its cache."""
        return self.root / "kept"

    @cached_property
    def front_end(self) -> Path:
        """An empty folder. With it, ``PromptServer`` does not look for the front-end package."""
        return self.root / "front_end"

    @cached_property
    def _jobs(self) -> Path:
        return self.root / "jobs"

    def new_workspace(self) -> Workspace:
        """Make the folder of one job."""
        root = f"{self._jobs}/{secrets.token_hex(8)}"  # So that no job can guess the folder of another.
        os.mkdir(root)  # noqa: PTH102 - faster, as for each job.
        return Workspace(Path(root))

    def keep_after_exec(self) -> None:
        """Let the folder belong to the program that takes this process's place, too: until that one has ended."""
        os.set_inheritable(self._lock, True)

    def close(self) -> None:
        """Remove the folder and all its files. This happens by itself when the process ends."""
        if os.getpid() != self._owner:
            return  # This is a forked child.
        atexit.unregister(self.close)
        shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)


class Workspace:
    """A job's own folder. It is removed by ``close``, or when nothing refers to it any more.

    ``input``, ``output`` and ``temp`` are made when the first file comes into them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.input = root / "input"
        self.output = root / "output"
        self.temp = root / "temp"
        self._remove = weakref.finalize(self, _remove, str(root), os.getpid())

    @property
    def state_root(self) -> Path:
        """The folder of all jobs' files."""
        return self.root.parents[1]

    def close(self) -> None:
        """Remove the job's files. A second call does nothing."""
        self._remove()


def _remove(root: str, owner: int) -> None:
    if os.getpid() != owner:
        return
    try:  # Most jobs have one or two files, for which shutil.rmtree takes three times as long.
        with os.scandir(root) as folders:
            for folder in folders:
                if folder.is_symlink():  # The link's target is not the job's.
                    raise NotADirectoryError(folder.path)
                with os.scandir(folder.path) as entries:
                    for entry in entries:
                        os.unlink(entry.path)  # noqa: PTH108
                os.rmdir(folder.path)  # noqa: PTH106
        os.rmdir(root)  # noqa: PTH106
    except OSError:  # There are folders below, or a file has just come.
        shutil.rmtree(root, ignore_errors=True)


def process_state(parent: Path | None) -> StateFolder:
    """The state folder of this process, which the first call makes in ``parent``, as ``open_state`` does.

    Raises:
        StartError: the folder cannot be made, or ``parent`` is another one than that of the first call.
    """
    global _state
    with _state_lock:
        if _state is None:
            _state = open_state(parent)
        chosen = _state.root.parent
        if parent is not None and parent.resolve() != chosen.resolve():
            raise StartError(
                f"WORKER_STATE_DIR is {str(chosen)!r} in this process, not {str(parent)!r}, as its first Worker chose. "
                "Use the same, or another process"
            )
        return _state


def open_state(parent: Path | None) -> StateFolder:
    """Make a new state folder in ``parent``, and remove those of dead processes. Default: tmpfs, if it has room.

    Raises:
        StartError: the folder cannot be made.
    """
    parent = parent or _default_parent()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _lock(root / "lock")
        for name in ("input", "output", "temp", "user", "kept", "front_end", "jobs"):
            (root / name).mkdir()
    except OSError as error:
        raise StartError(
            f"The worker's state folder cannot be made in {parent} ({error.strerror}): set WORKER_STATE_DIR"
        ) from None
    state = StateFolder(root, lock)
    atexit.register(state.close)
    return state


def _default_parent() -> Path:
    try:
        if shutil.disk_usage(_SHM).free >= _SHM_MIN_FREE and os.access(_SHM, os.W_OK):
            return _SHM
    except OSError:  # No /dev/shm here.
        pass
    return Path(tempfile.gettempdir())


def _lock(path: Path) -> int:
    """Lock ``path`` while this process lives. Raises BlockingIOError if another process has locked it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    return handle


def _sweep(parent: Path) -> None:
    """Remove state folders that no process has locked. Keep new ones, which may not be locked yet."""
    for left in parent.glob(_PREFIX + "*"):
        try:
            if left.stat().st_mtime > time.time() - _SWEEP_AGE_S:
                continue
            lock = _lock(left / "lock")
        except OSError:  # A live worker has locked it, or another one is sweeping it.
            continue
        shutil.rmtree(left, ignore_errors=True)
        os.close(lock)
