"""Tells a job's listener of the models that ComfyUI loads: from their files, and onto the device."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from worker.embedded.models.functions import surround_loading
from worker.models.readahead.page_cache import PIECE_BYTES, missing_pieces, opened
from worker.protocol.messages import MODEL_LOADING

_EVERY_S = 0.25  # Between two messages about a model. One that is loaded in less time is not told of.
_Measure = Callable[[], int | None]


def tell_of_loading(main: Any, server: Any) -> None:
    """Surround the functions by which ComfyUI and node packs load models. Call it before packs are imported."""
    management = main.comfy.model_management
    surround_loading(
        main,
        lambda path: _told(server, *_file(path)),
        lambda models: _told(server, *_models(management, models), ends_with_call=True),
    )


def _file(path: Any) -> tuple[str, int, _Measure]:
    """Name and size of a file, and how much of it is in the page cache: ComfyUI maps files, and reads them later."""
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - what packs hand over may be no path at all.
        return Path(path).name, size, functools.partial(_cached_bytes, str(path), size)
    except (OSError, TypeError, ValueError):
        return "", 0, lambda: None


def _cached_bytes(path: str, size: int) -> int | None:
    with contextlib.suppress(OSError), opened(path) as descriptor:
        return max(0, size - PIECE_BYTES * len(missing_pieces(descriptor, size)))
    return None


def _models(management: Any, models: Any) -> tuple[str, int, _Measure]:
    """Class and size of the models that are not on the device yet, and how much the device has taken since now."""
    try:
        there = {id(loaded.model) for loaded in management.current_loaded_models}
        new = [model for model in models if id(model) not in there]
        if not new:
            return "", 0, lambda: None
        size = sum(int(model.model_size()) for model in new)
        return type(new[0].model).__name__, size, _device_bytes(management, new[0].load_device)
    except Exception:  # noqa: BLE001 - a pack's own model may lack any of these; ComfyUI says so, if it needs them.
        return "", 0, lambda: None


def _device_bytes(management: Any, device: Any) -> _Measure:
    if getattr(device, "type", "") != "cuda":
        return lambda: None
    cuda = management.torch.cuda
    before = int(cuda.memory_allocated(device))

    def taken() -> int | None:
        with contextlib.suppress(RuntimeError):  # The device has failed.
            return max(0, int(cuda.memory_allocated(device)) - before)
        return None

    return taken


@contextlib.contextmanager
def _told(server: Any, name: str, size: int, measure: _Measure, *, ends_with_call: bool = False) -> Iterator[None]:
    """Tell of one model while this is open; of a file also afterwards, until all of it was read or its node ends."""
    client = server.client
    if not size or client is None or not client.tells_loading or client.listener is None:
        yield
        return
    telling = _Telling(server, name, size, measure)
    telling.start()
    try:
        yield
    except BaseException:
        telling.end()
        raise
    if ends_with_call:
        telling.end()
    else:
        telling.is_mapped = True


class _Telling:
    """Sends messages about one model, on a thread of its own.

    Attributes:
        is_mapped: whether ComfyUI has the file, but may not have read all of it.
    """

    def __init__(self, server: Any, name: str, size: int, measure: _Measure) -> None:
        self._server, self._client, self._node = server, server.client, server.last_node_id
        self._name, self._size, self._measure = name, size, measure
        self._ended = threading.Event()
        self.is_mapped = False

    def start(self) -> None:
        """Begin. Where the system gives no further thread, nothing is told."""
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._tell, name="model-loading", daemon=True).start()

    def end(self) -> None:
        """Tell nothing more, but that it is over."""
        self._ended.set()

    def _tell(self) -> None:
        told = False
        while not self._ended.wait(_EVERY_S) and self._goes_on():
            done = self._measure()
            if self.is_mapped and (done is None or done >= self._size):
                break
            self._send(done, is_over=False)
            told = True
        if told:
            self._send(self._size, is_over=True)

    def _goes_on(self) -> bool:
        """Whether the node that loads the model still runs."""
        return self._server.client is self._client and self._server.last_node_id == self._node

    def _send(self, done: int | None, *, is_over: bool) -> None:
        if self._goes_on():
            data = {"node": self._node, "name": self._name, "done": done, "total": self._size, "is_over": is_over}
            self._client.receive(MODEL_LOADING, data, self._client.id)
