"""Memory that runs out, a device that breaks, and a process that grows."""

from __future__ import annotations

import asyncio
import gc
import time
import types
import uuid
from typing import Any

import graphs
import pytest
from runpod_worker import Start

from worker import Worker
from worker.embedded.memory.device import DeviceMemory, MemoryFigures, ran_out
from worker.engine.graph_run import GraphRun
from worker.handler import make_handler
from worker.protocol.prompt_outcome import NodeFailure


def ask(worker: Worker, workflow: graphs.Graph) -> Any:
    """The answer of the real handler."""
    return asyncio.run(make_handler(worker)({"id": "job", "input": {"workflow": workflow}}))


def running_out(times: int) -> graphs.Graph:
    """A picture behind a node that runs out of memory so many times."""
    return graphs.through("TestRunsOutOfMemory", times=times, key=str(uuid.uuid4()))


def test_once_out_of_memory_is_run_again(worker: Worker) -> None:
    answer = ask(worker, running_out(1))
    assert [image["filename"] for image in answer["images"]] == ["ComfyUI_00001_.png"], "as if nothing had been"
    assert set(answer) == {"images"}


def test_twice_out_of_memory_is_an_error_with_figures(worker: Worker) -> None:
    answer = ask(worker, running_out(2))
    assert answer["error_type"] == "out_of_memory"
    assert answer["error"].startswith("Out of memory in node 3 (TestRunsOutOfMemory), also with all else removed")
    assert " GB free of " in answer["error"]
    assert "Workflow execution error: Node Type: TestRunsOutOfMemory, Node ID: 3" in answer["details"][0]
    assert set(ask(worker, graphs.solid())) == {"images"}, "the worker goes on"


def test_what_was_saved_before_is_sent_once(worker: Worker) -> None:
    """Both attempts save it, under one name."""
    graph = running_out(2)
    graph["4"] = graphs.node("SaveImage", images=["1", 0], filename_prefix="before")
    answer = ask(worker, graph)
    assert [image["filename"] for image in answer["images"]] == ["before_00001_.png"]
    assert answer["error_type"] == "out_of_memory"


@pytest.mark.parametrize(
    ("exception_type", "message", "expected"),
    [
        ("torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory.", True),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", True),
        ("torch.AcceleratorError", "CUDA error: out of memory", True),
        ("RuntimeError", "CUDA error: out of memory", True),
        ("RuntimeError", "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory", True),
        ("MemoryError", "", True),
        ("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate 8 TiB", True),
        ("ValueError", "the text 'CUDA out of memory' is no colour", False),
        ("RuntimeError", "CUDA error: device-side assert triggered", False),
    ],
)
def test_what_counts_as_out_of_memory(exception_type: str, message: str, expected: bool) -> None:
    assert ran_out(NodeFailure("1", "Node", exception_type, message)) is expected


class Cuda:
    """A stand-in for ``torch.cuda``: ``broken`` makes every call fail, as after a grave error."""

    def __init__(self, broken: str | None = None) -> None:
        self.broken, self.calls = broken, 0

    def synchronize(self, _: object) -> None:
        self.calls += 1
        if self.broken:
            raise RuntimeError(f"{self.broken}\nCompile with TORCH_USE_CUDA_DSA")

    def reset_peak_memory_stats(self, _: object) -> None: ...

    def max_memory_allocated(self, _: object) -> int:
        return 22_000_000_000


def device_memory(cuda: Cuda, free: list[int], kind: str = "cuda") -> tuple[DeviceMemory, list[str]]:
    """The memory of a device that has so many bytes free, one after the other; and what was called."""
    calls: list[str] = []
    management = types.SimpleNamespace(
        get_torch_device=lambda: types.SimpleNamespace(type=kind),
        get_torch_device_name=lambda _: "a device",
        get_free_memory=lambda _: free.pop(0) if len(free) > 1 else free[0],
        get_total_memory=lambda _: 24_000_000_000,
        unload_all_models=lambda: calls.append("unload"),
        soft_empty_cache=lambda: calls.append("empty"),
    )
    torch = types.SimpleNamespace(cuda=cuda, zeros=lambda *_, **__: types.SimpleNamespace(item=lambda: 0))
    return DeviceMemory(management, torch, lambda: calls.append("reset")), calls


def test_room_is_made_by_comfyui() -> None:
    memory, calls = device_memory(Cuda(), [20_000_000_000])
    memory.make_room()
    assert calls == ["unload", "reset", "empty"]
    assert str(memory.figures()) == "22.0 GB at most, 20.0 GB free of 24.0 GB"
    assert str(MemoryFigures(None, 0, 24_000_000_000)) == "0.0 GB free of 24.0 GB"


@pytest.mark.parametrize(("after", "back"), [(20_000_000_000, True), (17_000_000_000, True), (9_000_000_000, False)])
def test_memory_that_does_not_come_back(after: int, back: bool) -> None:
    memory, _ = device_memory(Cuda(), [20_000_000_000, after])
    assert memory.came_back() is back


def test_the_hosts_memory_belongs_to_others_as_well() -> None:
    memory, _ = device_memory(Cuda(), [20_000_000_000, 1], kind="cpu")
    assert memory.came_back()


GRAVE = [
    ("torch.AcceleratorError", "CUDA error: an illegal memory access was encountered"),
    ("RuntimeError", "CUDA error: device-side assert triggered"),
    ("RuntimeError", "CUDA error: uncorrectable ECC error encountered"),
    ("RuntimeError", "CUDA error: unspecified launch failure"),
    ("RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ("RuntimeError", "CUDA error: device lost"),
]


@pytest.mark.parametrize(("exception_type", "message"), GRAVE)
def test_grave_errors_of_cuda_are_recognised(exception_type: str, message: str) -> None:
    memory, _ = device_memory(Cuda(broken=message), [1])
    assert memory.fault(NodeFailure("1", "Node", exception_type, message)) == message


@pytest.mark.parametrize(("exception_type", "message"), GRAVE)
def test_a_device_that_works_is_not_broken_whatever_was_said(exception_type: str, message: str) -> None:
    """A caller has a part in what nodes say: no text alone ends a worker."""
    memory, _ = device_memory(Cuda(), [1])
    assert memory.fault(NodeFailure("1", "Node", exception_type, message)) is None


def test_other_failures_ask_nothing_of_the_device() -> None:
    cuda = Cuda(broken="never asked")
    memory, _ = device_memory(cuda, [1])
    assert memory.fault(None) is None
    assert memory.fault(NodeFailure("1", "Node", "ValueError", "no such file")) is None
    assert memory.fault(NodeFailure("1", "Node", "torch.OutOfMemoryError", "CUDA out of memory")) is None
    assert cuda.calls == 0
    on_cpu, _ = device_memory(cuda, [1], kind="cpu")
    assert on_cpu.fault(NodeFailure("1", "Node", "RuntimeError", "CUDA error: device lost")) is None


def test_a_process_that_has_grown_makes_room_and_then_leaves(start: Start) -> None:
    with start(MAX_RSS_MB="100") as process:
        process.api.give("first", {"workflow": graphs.solid()})
        assert "output" in process.api.result("first")
        assert process.end() == 0, "it is no failure: the platform starts another"
        assert "Memory was over MAX_RSS_MB" in process.log()
        assert "takes no more jobs" in process.log()


@pytest.mark.backends("embedded", "websocket")
def test_what_a_job_had_does_not_wait_for_the_garbage_collector(worker: Worker) -> None:
    """Its files and texts may be large, and no collection of the oldest generation comes for many jobs."""

    def left() -> list[object]:
        return [each for each in gc.get_objects() if type(each) is GraphRun]

    worker.run(graphs.solid(color=1)).close()
    gc.collect()
    gc.disable()
    try:
        for color in (2, 3):
            worker.run(graphs.solid(color=color)).close()
        until = time.monotonic() + 5
        while left() and time.monotonic() < until:  # Its thread may be on its way to the next job.
            time.sleep(0.01)
        assert not left()
    finally:
        gc.enable()
