"""A control group of the kernel that gives its processes so much memory and no more, as a container's does."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


class MemoryGroup:
    """A control group. ``prefix``: a command that starts another one in the group; it ends with this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        enter = f'echo $$ > {folder}/cgroup.procs && exec setpriv --pdeathsig KILL "$@"'
        self.prefix = ("sh", "-c", enter, "sh")

    def kills(self) -> int:
        """How many processes the kernel has killed because the memory ran out."""
        name = "memory.events" if (self.folder / "memory.events").exists() else "memory.oom_control"
        found = re.search(r"^oom_kill (\d+)$", (self.folder / name).read_text(), re.MULTILINE)
        assert found, "this kernel does not count them"
        return int(found[1])


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """Make a group that has ``limit`` bytes of memory, and remove it at the end.

    Raises:
        OSError: this machine does not let us.
    """
    if shutil.which("setpriv") is None:
        raise OSError("there is no setpriv")
    is_one_hierarchy = (_GROUPS / "cgroup.controllers").exists()
    parent = _GROUPS if is_one_hierarchy else _GROUPS / "memory"
    folder = parent / f"comfy-worker-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / ("memory.max" if is_one_hierarchy else "memory.limit_in_bytes")).write_text(str(limit))
        yield MemoryGroup(folder)
    finally:
        for _ in range(50):
            with contextlib.suppress(OSError):  # Its processes are still ending.
                folder.rmdir()
                break
            time.sleep(0.1)
