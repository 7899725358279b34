"""Nodes that do what no node should: for tests of what becomes of the worker, and of the next job."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import logging
import mmap
import os
import re
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import comfy.model_management
import folder_paths
import server
import torch


class OnImage:
    """A node that takes a picture, and runs in each job."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802
        return float("nan")


class RunsOutOfMemory(OnImage):
    """Raises torch's own error the first ``times`` times that it runs for ``key``."""

    runs: ClassVar[Counter[str]] = Counter()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "times": ("INT", {}), "key": ("STRING", {})}}

    def run(self, image: Any, times: int, key: str) -> tuple[Any]:
        self.runs[key] += 1
        if self.runs[key] <= times:
            raise torch.OutOfMemoryError("Allocation on device 0 would exceed allowed memory. (out of memory)")
        return (image,)


class Hangs(OnImage):
    """Waits without a sign of life, but heeds interrupts; ``kind``: ``sleep``, ``compute``, ``network``."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "kind": ("STRING", {}), "seconds": ("FLOAT", {})},
                "optional": {"address": ("STRING", {})}}  # fmt: skip

    def run(self, image: Any, kind: str, seconds: float, address: str = "") -> tuple[Any]:
        end = time.monotonic() + seconds
        if kind == "network":
            import socket

            host, port = address.split(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.recv(1)  # Until the other side closes.
            return (image,)
        while time.monotonic() < end:
            comfy.model_management.throw_exception_if_processing_interrupted()
            if kind == "sleep":
                time.sleep(0.05)
        return (image,)


class Returns(OnImage):
    """Gives something else than an image."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "kind": ("STRING", {})}}

    def run(self, image: Any, kind: str) -> Any:
        if kind == "nan":
            return (torch.full_like(image, float("nan")),)
        if kind == "shape":
            return (torch.zeros(3, 5),)
        if kind == "text":
            return ("no image",)
        if kind == "nothing":
            return ()
        if kind == "circle":
            circle: list[Any] = [image]
            circle.append(circle)
            return (image, circle)
        return None


class Misbehaves(OnImage):
    """Does ``deed``, and then passes the image on."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "deed": ("STRING", {})}, "optional": {"count": ("INT", {})}}

    def run(self, image: Any, deed: str, count: int = 0) -> tuple[Any]:
        getattr(self, deed)(count)
        return (image,)

    def ends_process(self, code: int) -> None:
        os._exit(code)

    def raises_base_exception(self, _: int) -> None:
        class Odd(BaseException):
            pass

        raise Odd("odd")

    def recurses(self, count: int) -> None:
        self.recurses(count + 1)

    def floods_log(self, lines: int) -> None:
        for number in range(lines):
            logging.warning("line %d of a flood", number)

    def prints_base64(self, megabytes: int) -> None:
        print(base64.b64encode(bytes(megabytes * 1_000_000)).decode())  # noqa: T201

    def patches(self, _: int) -> None:
        torch.load = None  # type: ignore[assignment]
        sys.argv[:] = ["patched", "--nonsense"]

    def leaves_threads(self, count: int) -> None:
        for _ in range(count):
            threading.Thread(target=threading.Event().wait, daemon=True).start()

    def leaves_thread_that_stays(self, _: int) -> None:
        """Python waits for such a thread before it ends."""
        threading.Thread(target=threading.Event().wait).start()

    def leaves_talker(self, count: int) -> None:
        """A thread that says every millisecond, also after the job, whose it is: to the job's client, and to all."""
        self._starts_talker(count, server.PromptServer.instance.client_id)

    def leaves_monitor(self, count: int) -> None:
        """The same to all only, as a monitor of the machine does."""
        self._starts_talker(count, None)

    def _starts_talker(self, count: int, client_id: str | None) -> None:
        def talk() -> None:
            for _ in range(count):
                for to in {client_id, None}:
                    server.PromptServer.instance.send_sync("test.talk", {"of": client_id}, to)
                time.sleep(0.001)

        threading.Thread(target=talk, daemon=True).start()

    def changes_directory(self, _: int) -> None:
        os.chdir("/")

    def removes_output(self, _: int) -> None:
        shutil.rmtree(folder_paths.get_output_directory())

    def fills_disk(self, megabytes: int) -> None:
        with (Path(folder_paths.get_output_directory()) / "large.bin").open("wb") as file:
            for _ in range(megabytes):
                file.write(bytes(1_000_000))

    def keeps_lock(self, seconds: int) -> None:
        """Runs in C and keeps Python's lock, as a bad regular expression does."""
        ctypes.PyDLL(None).sleep(seconds)

    def spins(self, letters: int) -> None:
        re.match(r"(a+)+$", "a" * letters + "b")

    def keeps_interrupts(self, seconds: int) -> None:
        """Lets nobody interrupt it, as a driver that waits for ever while it holds a lock of its own."""
        with comfy.model_management.interrupt_processing_mutex:
            time.sleep(seconds)

    def keeps_lock_later(self, seconds: int) -> None:
        def wait() -> None:
            time.sleep(1)
            self.keeps_lock(seconds)

        threading.Thread(target=wait, daemon=True).start()

    def leaves_busy_threads(self, count: int) -> None:
        def spin() -> None:
            while True:
                pass

        for _ in range(count):
            threading.Thread(target=spin, daemon=True).start()
        while True:
            time.sleep(1)

    def loops_deaf(self, _: int) -> None:
        """Runs in Python, and heeds no interrupt."""
        while True:
            time.sleep(0.01)

    def swallows(self, _: int) -> None:
        """Runs in Python, and takes every error for its own."""
        while True:
            with contextlib.suppress(BaseException):
                self.loops_deaf(0)

    def grows(self, megabytes: int) -> None:
        """Takes memory step by step, and heeds interrupts."""
        taken = []
        for _ in range(megabytes // 10):
            taken.append(b"x" * 10_000_000)
            time.sleep(0.01)
            comfy.model_management.throw_exception_if_processing_interrupted()

    def grows_deaf(self, megabytes: int) -> None:
        """The same, and heeds none."""
        taken = []
        for _ in range(megabytes // 10):
            taken.append(b"x" * 10_000_000)
            time.sleep(0.01)

    def fills_deaf(self, megabytes: int) -> None:
        """The same, in memory that it has reserved as a whole."""
        reserved = mmap.mmap(-1, megabytes * 1_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for at in range(0, len(reserved), 10_000_000):
            reserved[at : at + 10_000_000] = b"x" * 10_000_000
            time.sleep(0.01)
        time.sleep(300)

    def leaves_files(self, count: int) -> None:
        for number in range(count):
            (Path(folder_paths.get_output_directory()) / f"{number}.txt").touch()


CLASSES = (RunsOutOfMemory, Hangs, Returns, Misbehaves)
