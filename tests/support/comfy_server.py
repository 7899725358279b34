"""A stock ComfyUI server: ComfyUI's own ``main.py`` as a process of its own, on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from worker.embedded.start.device import cuda_device_count
from worker.embedded.start.source import find_source
from worker.settings import load_settings


class ComfyServer:
    """Starts on entering ``with``, once it answers, and ends with it::

        with ComfyServer(base) as server:
            urllib.request.urlopen(f"http://{server.host}/system_stats")

    Args:
        base: a folder with ``models/``, ``custom_nodes/`` and ``input/``.
        flags: further ones for ComfyUI.
        port: where it listens; 0 takes a free one.
        environment: on top of this process's.
        start_s: seconds until it must answer.
    """

    def __init__(
        self,
        base: Path,
        flags: Sequence[str] = (),
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        start_s: float = 120,
    ) -> None:
        self.base = base
        self.port = port or free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._folders = tempfile.TemporaryDirectory(prefix="comfy-server-")
        self.root = Path(self._folders.name)
        self.process: subprocess.Popen[bytes] | None = None
        self._flags = tuple(flags)
        self._environment = dict(environment or {})
        self._start_s = start_s

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process, and return at once."""
        tree = find_source(load_settings().comfyui_path, self.base).path
        front_end = self.root / "front_end"
        front_end.mkdir(exist_ok=True)
        (front_end / "index.html").write_text("ComfyUI", encoding="utf-8")  # So that / answers, as it does anywhere.
        folders = [f"--{name}-directory={self.root / name}" for name in ("input", "output", "temp", "user")]
        for name in ("input", "output", "user"):
            (self.root / name).mkdir(exist_ok=True)
        command = [
            *(sys.executable, "main.py", "--listen", "127.0.0.1", "--port", str(self.port), "--disable-auto-launch"),
            *(f"--base-directory={self.base}", *folders, f"--front-end-root={front_end}"),
            f"--database-url=sqlite:///{self.root / 'comfyui.db'}",
            *(() if cuda_device_count() else ("--cpu",)),
            *self._flags,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=tree,
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> Path:
        """What it has printed."""
        return self.root / "log.txt"

    def link_inputs(self) -> None:
        """Let it read the base directory's input files, since it has an input folder of its own.

        Folders are real ones: some of ComfyUI's nodes offer no others.
        """
        shutil.copytree(self.base / "input", self.root / "input", copy_function=_link, dirs_exist_ok=True)

    def wait(self) -> None:
        """Wait until it answers."""
        give_up = time.monotonic() + self._start_s
        while time.monotonic() < give_up:
            if self.process is None or self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{self.host}/system_stats", timeout=5):
                return
            time.sleep(0.05)
        raise RuntimeError(f"ComfyUI did not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End the process and remove its folders."""
        self._end(signal.SIGTERM)
        self._folders.cleanup()

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def _link(source: str, target: str) -> None:
    if not os.path.lexists(target):
        Path(target).symlink_to(Path(source).resolve())


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
