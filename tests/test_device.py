"""Which device ComfyUI gets. What needs a broken GPU is played by a stand-in for torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from worker.embedded.start.device import check_device, cpu_flag, cuda_device_count, torch_build
from worker.errors import NoDevice


@pytest.mark.parametrize(
    ("flags", "build", "devices", "on_pod", "flag"),
    [
        ((), "cuda", 1, False, None),
        ((), "cuda", 1, True, None),
        ((), "cuda", 0, False, "--cpu"),
        ((), "cpu", 1, False, "--cpu"),
        ((), "other", 0, True, None),
        (("--cpu",), "cuda", 0, True, None),
        (("--cpu",), "cuda", 1, False, None),
        (("--directml",), "cpu", 0, False, None),
        (("--highvram",), "cuda", 2, True, None),
    ],
)
def test_the_cpu_is_chosen_where_there_is_nothing_else(
    flags: tuple[str, ...], build: str, devices: int, on_pod: bool, flag: str | None
) -> None:
    chosen, warning = cpu_flag(flags, build, devices, on_pod=on_pod)
    assert chosen == flag
    assert bool(warning) == (flag is not None)


@pytest.mark.parametrize(("build", "devices"), [("cuda", 0), ("cpu", 0), ("cpu", 1)])
def test_a_pod_without_a_device_does_not_start(build: str, devices: int) -> None:
    with pytest.raises(NoDevice, match=r"GPU is not available .*report this machine.*COMFY_ARGS=--cpu"):
        cpu_flag((), build, devices, on_pod=True)


def fake_torch(error: Exception | None) -> Any:
    """A ``torch`` whose CUDA device fails with ``error``."""

    def zeros(*_: object, **__: object) -> Any:
        if error:
            raise error
        return SimpleNamespace(item=lambda: 0.0)

    return SimpleNamespace(cuda=SimpleNamespace(init=lambda: None), zeros=zeros)


def test_a_device_that_does_not_work_stops_the_start() -> None:
    cuda = SimpleNamespace(type="cuda")
    check_device(fake_torch(None), cuda, on_pod=True)
    check_device(fake_torch(RuntimeError("never asked")), SimpleNamespace(type="cpu"), on_pod=True)
    broken = fake_torch(RuntimeError("CUDA error: uncorrectable ECC error encountered\nmore lines"))
    with pytest.raises(NoDevice, match=r"uncorrectable ECC error encountered\).*report this machine"):
        check_device(broken, cuda, on_pod=True)
    with pytest.raises(NoDevice, match=r"does not work .*set COMFY_ARGS=--cpu$"):
        check_device(broken, cuda, on_pod=False)


def test_the_driver_and_the_installed_torch_are_asked() -> None:
    import torch

    assert cuda_device_count() == torch.cuda.device_count()
    assert torch_build() == ("cuda" if torch.version.cuda else "cpu")


@pytest.mark.gpu
def test_a_real_device_passes() -> None:
    import torch

    check_device(torch, torch.device("cuda"), on_pod=True)
