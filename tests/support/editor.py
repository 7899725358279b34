"""``python -m worker editor`` as a process of its own, on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from comfy_server import free_port


class Editor:
    """A process of the editor, with what it prints in a file.

    Args:
        log: the file.
        environment: on top of this process's.
    """

    def __init__(self, log: Path, environment: dict[str, str], *options: str) -> None:
        self.port, self._log = free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", "editor", "--port", str(self.port), *options],
                env=os.environ | environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
                # A shell that runs these tests in the background has them ignore it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def text(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    def wait(self) -> None:
        """Wait until it answers."""
        for _ in range(1200):
            assert self.process.poll() is None, self.text()
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"{self.url}/system_stats", timeout=30)
                return
            time.sleep(0.1)
        raise AssertionError(self.text())

    def end(self, number: int) -> int:
        """Send it a signal. Returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def editor(log: Path, environment: dict[str, str], *options: str) -> Iterator[Editor]:
    """An editor that answers. It ends with the context."""
    started = Editor(log, environment, *options)
    try:
        started.wait()
        yield started
    finally:
        started.process.kill()
        started.process.wait()
