"""A node that really breaks a CUDA device. Its kernels are PTX, which the driver itself compiles."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

import torch

from .faults import OnImage

_PTX = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry illegal_access() {
    .reg .b64 %at;
    .reg .b32 %one;
    mov.u64 %at, 0x10;
    mov.u32 %one, 1;
    st.global.u32 [%at], %one;
    ret;
}
.visible .entry launch_failure() {
    trap;
    ret;
}
.visible .entry endless() {
    .reg .b32 %count;
    mov.u32 %count, 0;
again:
    add.u32 %count, %count, 1;
    bar.warp.sync 0xffffffff;
    bra again;
}
"""


def _launch(name: bytes) -> None:
    driver = ctypes.CDLL("libcuda.so.1")
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    for code in (
        driver.cuModuleLoadData(ctypes.byref(module), _PTX),
        driver.cuModuleGetFunction(ctypes.byref(function), module, name),
        driver.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None),
    ):
        if code:
            raise ValueError(f"the kernel cannot be started: {code}")


class BreaksCuda(OnImage):
    """Breaks the CUDA device as ``deed`` says, and holds tensors on it meanwhile."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"image": ("IMAGE",), "deed": ("STRING", {})}}

    def run(self, image: Any, deed: str) -> tuple[Any]:
        held = [image.cuda(), torch.zeros(1_000_000, device="cuda")]
        getattr(self, deed)()
        torch.cuda.synchronize()
        return (held[0].cpu(),)

    def device_side_assert(self) -> None:
        table = torch.nn.Embedding(4, 4).cuda()
        table(torch.full((4,), 99, device="cuda"))

    def illegal_access(self) -> None:
        _launch(b"illegal_access")

    def launch_failure(self) -> None:
        _launch(b"launch_failure")

    def temporaries(self) -> None:
        """Tensors that Python frees while it leaves the node."""
        index = torch.full((4,), 99, device="cuda")
        (torch.nn.functional.embedding(index, torch.zeros(4, 4, device="cuda")) + 1).sum().item()

    def never_returns(self) -> None:
        """A kernel that does not end, and a failure that speaks of it."""
        _launch(b"endless")
        raise RuntimeError("CUDA error: the launch timed out and was terminated")

    def is_killed(self) -> None:
        """As by the system, or by a driver that is reset, while a kernel runs."""
        _launch(b"endless")
        os.kill(os.getpid(), signal.SIGKILL)


CLASSES = (BreaksCuda,)
