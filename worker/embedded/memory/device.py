"""Measures and frees the device's memory, and finds out whether the device still works."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worker.protocol.prompt_outcome import NodeFailure

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "would exceed allowed memory")
_OF_CUDA = ("cuda", "cublas", "cudnn", "nvrm", "accelerator", "ecc", "device-side")
_BACK = 0.8  # Share of what was free at the start.
_TRY_S = 3.0  # A device that works may still have as much to compute.
_GB = 1e9


def ran_out(failure: NodeFailure | None) -> bool:
    """Whether a node failed because memory ran out, the device's or the host's."""
    if failure is None:
        return False
    if "MemoryError" in failure.exception_type:
        return True
    runtime = failure.exception_type.split(".")[-1] in ("RuntimeError", "AcceleratorError")
    return runtime and any(sign in failure.message.lower() for sign in _OUT_OF_MEMORY)


@dataclass(frozen=True)
class MemoryFigures:
    """Numbers of bytes. ``peak``: the most that was allocated at once; None if the device is not a CUDA device."""

    peak: int | None
    free: int
    total: int

    def __str__(self) -> str:
        peak = "" if self.peak is None else f"{self.peak / _GB:.1f} GB at most, "
        return f"{peak}{self.free / _GB:.1f} GB free of {self.total / _GB:.1f} GB"


class DeviceMemory:
    """The memory of the device that ComfyUI uses, measured and freed with ComfyUI's own functions.

    Args:
        management: ComfyUI's ``model_management``.
        torch: the ``torch`` module.
        reset: clears the executor's caches.
        leave_alone: sees to it that nothing touches the device any more. It is called when the device is broken.

    Attributes:
        is_cuda: whether it is a CUDA device.
        name: its name.
        broken: why the device is broken for this process; None if nobody has found that it is.
        on_doubt: called with the text of a failure that speaks of the device, before the device is tried, and with None
            when it works.
    """

    def __init__(
        self,
        management: Any,
        torch: Any,
        reset: Callable[[], None],
        leave_alone: Callable[[], object] = lambda: None,
    ) -> None:
        self._management, self._torch = management, torch
        self._reset, self._leave_alone = reset, leave_alone
        self._device = management.get_torch_device()
        self.is_cuda = self._device.type == "cuda"
        self.name = str(management.get_torch_device_name(self._device))  # Later the driver may not answer.
        self.broken: str | None = None
        self.on_doubt: Callable[[str | None], object] = lambda _: None
        self._free_at_start = self.figures().free

    def begin(self) -> None:
        """Begin a job: its peak is measured from now on.

        Raises:
            RuntimeError: the device is broken.
        """
        if self.is_cuda:
            self._torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int | None:
        """The most bytes that the job has allocated at once; None if that is not known."""
        if self.is_cuda and self.broken is None:
            with contextlib.suppress(RuntimeError):  # No answer is lost for this number.
                return int(self._torch.cuda.max_memory_allocated(self._device))
        return None

    def figures(self) -> MemoryFigures:
        """The device's figures now."""
        free, total = self._management.get_free_memory(self._device), self._management.get_total_memory(self._device)
        return MemoryFigures(self.peak(), int(free), int(total))

    def make_room(self) -> None:
        """Remove all models and all cached results, and empty the allocator's cache."""
        self._management.unload_all_models()
        self._reset()
        gc.collect()
        self._management.soft_empty_cache()

    def came_back(self) -> bool:
        """Whether nearly as much is free as at the start. Call it after ``make_room``. Always true without CUDA, since
        other programs use the host's memory as well."""
        return not self.is_cuda or self.figures().free >= _BACK * self._free_at_start

    def fault(self, failure: NodeFailure | None) -> str | None:
        """Why the device is broken for this process; None if it works.

        After a fatal CUDA error (an illegal access, a device-side assert, a launch failure, an uncorrectable ECC error,
        a lost device) every later CUDA call of the process fails, or never returns. So if a failure's text mentions
        CUDA, try a call. The text alone proves nothing, since a caller may have written it.
        """
        if self.broken is not None:
            return self.broken
        if failure is None or not self.is_cuda or ran_out(failure):
            return None
        said = f"{failure.exception_type} {failure.message}".lower()
        if not any(sign in said for sign in _OF_CUDA):
            return None
        gc.disable()  # On any thread it might free a tensor of the device.
        self.on_doubt(_first_line(failure.message) or failure.exception_type)
        self.broken = self._tried()
        if self.broken is None:
            gc.enable()
            self.on_doubt(None)
        else:
            self._leave_alone()
        return self.broken

    def _tried(self) -> str | None:
        """Why a call to the device fails; None if it works. It is made on another thread, since it may never return."""
        outcome: list[str | None] = []

        def call() -> None:
            try:
                self._torch.cuda.synchronize(self._device)
                self._torch.zeros(1, device=self._device).item()
            except RuntimeError as error:
                outcome.append(_first_line(str(error)) or type(error).__name__)
            else:
                outcome.append(None)

        thread = threading.Thread(target=call, name="device-trial", daemon=True)
        thread.start()
        thread.join(_TRY_S)
        return outcome[0] if outcome else f"it does not answer within {_TRY_S:g} s"


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:200]
