"""``Child``: starts a child process of the benchmark, exchanges messages with it, and ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.contenders.pipe import Message

_END_S = 5
PROJECT = Path(__file__).resolve().parents[3]
_OWN_PATHS = (PROJECT / "scripts", PROJECT / "tests" / "support")


class ContenderFailed(Exception):
    """A contender could not start, or did not answer. The text is one line."""


class Child:
    """``python -m MODULE ARGUMENT…``, in a session of its own, so that Ctrl-C reaches only the benchmark.

    Args:
        module: the module of this checkout that it runs.
        arguments: its arguments.
        environment: all of its variables. PYTHONPATH is extended here.
        log: the file for its standard error.
        project: the checkout whose ``worker`` it imports.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        project: Path = PROJECT,
    ) -> None:
        paths = os.pathsep.join(map(str, (*_OWN_PATHS, project)))
        if environment.get("PYTHONPATH"):
            paths += os.pathsep + environment["PYTHONPATH"]
        self._log = log
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                # Without -P, the working directory would come before PYTHONPATH, and it may hold another ``worker``.
                [sys.executable, "-P", "-m", module, *arguments],
                env={**environment, "PYTHONPATH": paths},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                start_new_session=True,
                text=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            ContenderFailed: the child has ended.
        """
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise ContenderFailed(self._last_words()) from None

    def receive(self, timeout_s: float) -> Message:
        """The next message. If it does not come within ``timeout_s`` seconds, the child is killed.

        Raises:
            ContenderFailed: the child says that it failed, took too long, or has ended.
        """
        assert self._process.stdout is not None  # noqa: S101
        late = threading.Event()

        def end() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(timeout_s, end)
        timer.daemon = True  # Ctrl-C may come before ``finally`` is reached.
        try:
            timer.start()
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if late.is_set():
            raise ContenderFailed(f"no answer within {timeout_s:.0f} s")
        if not line:
            raise ContenderFailed(self._last_words())
        message: Message = json.loads(line)
        if message.get("error"):
            raise ContenderFailed(message["error"])
        return message

    def close(self) -> None:
        """End the child, and all processes that it has started."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(OSError):  # The child has ended before it read all messages.
            self._process.stdin.close()
        for number in (signal.SIGINT, signal.SIGKILL):
            try:
                self._process.wait(_END_S)
                break
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, number)
        self._kill()
        self._process.wait()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # No process of its group is left.
            os.killpg(self.pid, signal.SIGKILL)

    def _last_words(self) -> str:
        self._process.wait()
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"it ended with {self._process.returncode}" + (f": {lines[-1].strip()[:300]}" if lines else "")
