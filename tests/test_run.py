"""Workflows through real ComfyUI in this process: what comes out, what is told, what is refused."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import graphs
import pytest
from PIL import Image

from worker import Worker
from worker.errors import BackendFailed, InvalidJob, JobInterrupted, StartError, WorkflowRejected
from worker.events import (
    Event,
    Message,
    NodeOutput,
    NodeProgress,
    NodesCached,
    NodeStarted,
    PromptEnded,
    PromptStarted,
)

pytestmark = pytest.mark.backends("embedded", "websocket")


def test_a_picture_comes_out(worker: Worker) -> None:
    result = worker.run(graphs.solid(0x3366CC, width=70, height=30, batch=2))
    assert result.ok
    assert [image.size for image in result.images] == [(70, 30)] * 2
    assert result.images[1].getpixel((69, 29)) == (0x33, 0x66, 0xCC)
    if worker.runtime is not None:
        assert [artifact.filename for artifact in result.artifacts] == ["ComfyUI_00001_.png", "ComfyUI_00002_.png"]
    assert {artifact.node_id for artifact in result.artifacts} == {"2"}
    assert result.artifacts[0].media_type == "image/png"
    assert set(result.seconds) == {"stage", "run", "collect"}


def test_the_real_sampler_runs(worker: Worker, tiny_checkpoint: Path) -> None:
    assert tiny_checkpoint.stat().st_size > 300e6
    events: list[Event] = []
    first = worker.run(graphs.text_to_image(seed=1, steps=3), on_event=events.append)
    assert first.ok
    steps = [event for event in events if isinstance(event, NodeProgress) and event.node_id == "3"]
    assert {step.maximum for step in steps} == {3}
    assert steps[-1].value == 3  # Newer versions leave out steps that follow too fast.
    other = worker.run(graphs.text_to_image(seed=2, steps=3))
    again = worker.run(graphs.text_to_image(seed=1, steps=3))
    assert first.images[0].tobytes() == again.images[0].tobytes() != other.images[0].tobytes()


def test_events_tell_the_story_in_order(worker: Worker) -> None:
    events: list[Event] = []
    result = worker.run(graphs.through("TestSleeps", color=0x111111, steps=2), on_event=events.append)
    kinds = [type(event) for event in events]
    assert kinds[:2] == [PromptStarted, NodesCached]
    assert kinds[-1] is PromptEnded
    assert events[-1] == PromptEnded(events[0].prompt_id, "success")  # type: ignore[union-attr]
    started = [event for event in events if isinstance(event, NodeStarted)]
    assert [(event.node_id, event.class_type) for event in started] == [
        ("1", "EmptyImage"), ("3", "TestSleeps"), ("2", "SaveImage"),
    ]  # fmt: skip
    progress = [event for event in events if isinstance(event, NodeProgress)]
    assert [(event.node_id, event.value, event.maximum) for event in progress] == [("3", 1, 2), ("3", 2, 2)]
    (output,) = [event for event in events if isinstance(event, NodeOutput)]
    assert output.output["images"][0]["filename"] == result.artifacts[0].filename


def test_a_listener_that_raises_is_not_the_job_s_fault(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    def listen(_: Event) -> None:
        raise ValueError("listener")

    assert worker.run(graphs.solid(), on_event=listen).ok
    assert "An event listener raised" in caplog.text


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "pil"])
def test_an_input_picture_is_found_by_its_name(
    worker: Worker, tmp_path: Path, png: Callable[..., bytes], kind: str
) -> None:
    data = png("#0a0b0c", (9, 7))
    (tmp_path / "file.png").write_bytes(data)
    sources: dict[str, Any] = {
        "path": tmp_path / "file.png", "text": str(tmp_path / "file.png"), "bytes": data,
        "pil": Image.open(io.BytesIO(data)),
    }  # fmt: skip
    result = worker.run(graphs.load("sub/in.png"), images={"sub/in.png": sources[kind]})
    assert result.images[0].size == (9, 7)
    assert result.images[0].getpixel((0, 0)) == (10, 11, 12)


def test_an_input_of_one_job_is_not_there_for_the_next(worker: Worker, png: Callable[..., bytes]) -> None:
    assert worker.run(graphs.load("mine.png"), images={"mine.png": png()}).ok
    with pytest.raises(WorkflowRejected, match=r"Node 1 \(LoadImage\) image"):
        worker.run(graphs.load("mine.png"))


def test_jobs_of_equal_ids_and_other_pixels(worker: Worker) -> None:
    colors = [0xFF0000, 0x00FF00, 0x0000FF, 0xFF0000]
    results = [worker.run(graphs.solid(color)) for color in colors]
    assert [result.images[0].getpixel((0, 0)) for result in results] == [
        (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0),
    ]  # fmt: skip
    if worker.runtime is not None:
        assert {result.artifacts[0].filename for result in results} == {"ComfyUI_00001_.png"}


def test_the_same_job_twice_runs_nothing_again(worker: Worker) -> None:
    graph = graphs.through("TestCountsRuns", color=0x224466)
    first = worker.run(graph)
    events: list[Event] = []
    second = worker.run(graph, on_event=events.append)
    assert not [event for event in events if isinstance(event, NodeStarted)]
    assert first.images[0].tobytes() == second.images[0].tobytes()
    assert first.artifacts[0].filename == second.artifacts[0].filename


def test_the_caller_s_graph_is_left_as_it_was(worker: Worker, png: Callable[..., bytes]) -> None:
    graph = graphs.load("a.png")
    before = repr(graph)
    assert worker.run(graph, images={"a.png": png("red")}).images[0].getpixel((0, 0)) == (255, 0, 0)
    assert repr(graph) == before
    assert worker.run(graph, images={"a.png": png("lime")}).images[0].getpixel((0, 0)) == (0, 255, 0)


def test_texts_and_files_of_any_kind(worker: Worker, tmp_path: Path) -> None:
    result = worker.run(
        {
            "2": graphs.node("TestShowsText", text="seen"),
            "10": graphs.node("TestSavesFile", key="gifs", subfolder="video/a", filename="x.mp4", content="mp4"),
            "1": graphs.node("TestSavesFile", key="whatever", subfolder="", filename="x.bin", content="bin"),
        }
    )
    assert result.ok
    assert result.text == ["seen"]
    found = [(a.node_id, a.key, a.subfolder, a.filename, a.media_type, a.read()) for a in result.files]
    assert found == [
        ("10", "gifs", "video/a", "x.mp4", "video/mp4", b"mp4"),
        ("1", "whatever", "", "x.bin", "application/octet-stream", b"bin"),
    ]
    assert [path.relative_to(tmp_path).as_posix() for path in result.save(tmp_path)] == ["video/a/x.mp4", "x.bin"]
    assert [path.name for path in result.save(tmp_path)] == ["x-2.mp4", "x-2.bin"]
    assert (tmp_path / "x-2.bin").read_text() == "bin"


@pytest.mark.parametrize("named", ["gone.bin", "../../../../../../etc/hostname", "/etc/hostname"])
def test_an_output_that_is_not_there_or_not_the_job_s(worker: Worker, named: str) -> None:
    node = graphs.node("TestSavesFile", key="files", subfolder="", filename="x.bin", content="", named=named)
    result = worker.run({"1": node})
    # What it has saved under another name is unnamed, and stays on a server.
    unnamed = ["x.bin"] if worker.runtime is not None else []
    assert [artifact.filename for artifact in result.artifacts] == unnamed
    if named == "gone.bin":
        lines = (result.errors, result.warnings)
        assert lines == (("Node 1 named an output that is not there: gone.bin",), ())
    else:
        text = "Node 1 named an output outside of the output folder, which is not sent: hostname"
        assert (result.errors, result.warnings) == ((), (text,))


def test_a_node_that_raises(worker: Worker) -> None:
    result = worker.run(graphs.through("TestRaises") | {"9": graphs.node("TestShowsText", text="early")})
    assert result.status == "error"
    (line,) = result.errors
    assert line.startswith(
        "Workflow execution error: Node Type: TestRaises, Node ID: 3, Message: cannot read secret.bin"
    )
    assert not result.images


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
@pytest.mark.backends("embedded")
def test_a_node_cannot_end_the_process(worker: Worker, kind: str) -> None:
    result = worker.run(graphs.through("TestRaises", kind=kind))
    assert result.status == "error"
    assert result.errors[0].startswith(
        f"Workflow execution error: Node Type: TestRaises, Node ID: 3, Message: {kind}: "
    )
    assert worker.run(graphs.solid(0x123456)).images[0].getpixel((0, 0)) == (0x12, 0x34, 0x56)


def test_what_was_saved_before_a_failure_is_delivered(worker: Worker) -> None:
    graph = graphs.solid(0x010203)
    graph["3"] = graphs.node("TestRaises", image=["1", 0], kind="ValueError")
    graph["4"] = graphs.node("SaveImage", images=["3", 0], filename_prefix="b")
    for _ in range(2):  # Whichever output ComfyUI begins with, the second time the first picture is there or is not.
        result = worker.run(graph)
        assert result.status == "error"
        assert len(result.images) == len([artifact for artifact in result.artifacts if artifact.node_id == "2"])


def test_a_blocked_output_is_told(worker: Worker) -> None:
    result = worker.run(graphs.through("TestBlocks"))
    assert result.status == "success"
    assert result.errors == (
        "Workflow execution error: Node Type: SaveImage, Node ID: 2, Message: Execution Blocked: nothing to see",
    )


def test_an_output_dropped_by_validation_is_told(worker: Worker) -> None:
    graph = graphs.solid(0x040506) | {"7": graphs.node("SaveImage", filename_prefix="lost")}
    result = worker.run(graph)
    assert len(result.images) == 1
    assert result.errors == (
        "Output dropped by validation: Node 7 (SaveImage) images: this input is required and missing",
    )


CYCLE = {
    "1": graphs.node("ImageInvert", image=["2", 0]),
    "2": graphs.node("ImageInvert", image=["1", 0]),
    "3": graphs.node("SaveImage", images=["1", 0], filename_prefix="x"),
}


@pytest.mark.parametrize(
    ("graph", "lines"),
    [
        ({"5": graphs.node("NoSuchNode")}, ["• Node 5 (NoSuchNode): this node class is not installed"]),
        (
            {"1": graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=0)},
            ["• The workflow has no output node, such as SaveImage"],
        ),
        (
            {"1": graphs.node("EmptyImage", width=-8, height="x", batch_size=1, color=0)}
            | {"2": graphs.node("SaveImage", images=["1", 0], filename_prefix="x")},
            ["• Node 1 (EmptyImage) width: ", "• Node 1 (EmptyImage) height: "],
        ),
        (graphs.solid() | {"2": graphs.node("SaveImage", images=["99", 0], filename_prefix="x")}, ["• "]),
    ],
)
def test_a_graph_that_comfyui_refuses(worker: Worker, graph: dict[str, Any], lines: list[str]) -> None:
    with pytest.raises(WorkflowRejected) as caught:
        worker.run(graph)
    text = str(caught.value)
    assert text.startswith("Workflow validation failed:\n• ")
    for line in lines:
        assert line in text
    assert "Traceback" not in text


def test_a_missing_checkpoint_is_explained(worker: Worker, tiny_checkpoint: Path) -> None:
    with pytest.raises(WorkflowRejected) as caught:
        worker.run(graphs.text_to_image(checkpoint="x.safetensors"))
    assert str(caught.value) == (
        "Workflow validation failed:\n"
        "• Node 4 (CheckpointLoaderSimple) ckpt_name: 'x.safetensors' is not in the list\n\n"
        f"Available checkpoint models: {tiny_checkpoint.name}"
    )


def test_a_wrong_choice_shows_the_choices(worker: Worker, tiny_checkpoint: Path) -> None:
    graph = graphs.text_to_image()
    graph["3"]["inputs"]["scheduler"] = "nonsense"
    with pytest.raises(
        WorkflowRejected, match=r"Node 3 \(KSampler\) scheduler: 'nonsense' is not in the list \(.*karras"
    ):
        worker.run(graph)


def test_a_cycle_is_refused(worker: Worker) -> None:
    with pytest.raises(WorkflowRejected, match=r"(?i)(1.*2|2.*1).*cycle|cycle.*(1.*2|2.*1)"):
        worker.run(CYCLE)


def test_the_api_key_reaches_nodes_and_no_answer(worker: Worker) -> None:
    graph = {"1": graphs.node("TestShowsText", text="key={key}")}
    assert worker.run({"workflow": graph, "comfy_org_api_key": "sk-mine"}).text == ["key=sk-mine"]
    assert worker.run({"1": graphs.node("TestShowsText", text="no key={key}")}).text == ["no key=None"]
    failed = worker.run({"workflow": graphs.through("TestRaises"), "api_key_comfy_org": "sk-mine"})
    assert "sk-mine" not in failed.errors[0]
    assert "********" in failed.errors[0]


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def test_an_interrupt_stops_a_run_within_a_step_and_spares_the_next(worker: Worker) -> None:
    async def scenario() -> tuple[float, Any]:
        running = asyncio.Event()
        loop = asyncio.get_running_loop()

        def listen(event: Event) -> None:
            if isinstance(event, NodeProgress):
                loop.call_soon_threadsafe(running.set)

        task = asyncio.create_task(worker.arun(graphs.through("TestSleeps", steps=5000), on_event=listen))
        await running.wait()
        follower = asyncio.create_task(worker.arun(graphs.through("TestSleeps", color=0x00FF00, steps=3)))
        await asyncio.sleep(0.05)
        start = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.perf_counter() - start, await follower

    seconds, result = asyncio.run(scenario())
    assert seconds < 2
    assert result.ok
    assert result.images[0].getpixel((0, 0)) == (0, 255, 0)


def test_a_waiting_run_is_cancelled_at_once(worker: Worker) -> None:
    async def scenario() -> None:
        first = asyncio.create_task(worker.arun(graphs.through("TestSleeps", color=1, steps=40)))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(worker.arun(graphs.solid(2)))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not first.done()
        assert (await first).ok

    asyncio.run(scenario())


@pytest.mark.backends("embedded")
def test_only_one_worker_is_open(worker: Worker) -> None:
    with pytest.raises(StartError, match="open in this process already"):
        Worker(worker.settings).start()


@pytest.mark.backends("embedded")
def test_closing_interrupts_and_opening_again_goes_on(worker: Worker) -> None:
    outcome: list[object] = []
    running = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, NodeProgress):
            running.set()

    def run() -> None:
        try:
            outcome.append(worker.run(graphs.through("TestSleeps", steps=5000), on_event=listen).status)
        except JobInterrupted:
            outcome.append("interrupted")

    thread = threading.Thread(target=run)
    thread.start()
    assert running.wait(20)
    worker.close()
    thread.join(20)
    assert outcome == ["interrupted"]
    with pytest.raises(StartError, match="not open"):
        worker.run(graphs.solid())
    worker.start()
    assert worker.run(graphs.solid()).ok


def test_a_result_outlives_the_run_and_goes_with_its_owner(worker: Worker) -> None:
    result = worker.run(graphs.solid())
    path = result.artifacts[0].path
    worker.run(graphs.solid(5))
    assert path.is_file()
    result.close()
    assert not path.exists()


@pytest.mark.backends("embedded")
def test_no_file_of_a_job_stays_in_comfyui_s_folders(worker: Worker, png: Callable[..., bytes]) -> None:
    assert worker.runtime is not None
    state = worker.runtime.state
    worker.run(graphs.load("a.png"), images={"a.png": png()})
    with pytest.raises(WorkflowRejected):
        worker.run(graphs.load("b.png"), images={"a.png": png()})
    worker.run(graphs.through("TestRaises"))
    for folder in (state.input, state.output, state.temp):
        assert not [entry for entry in folder.rglob("*") if entry.is_file() and not entry.is_symlink()]


@pytest.mark.parametrize("workflow", ["no/such/file.json", __file__])
def test_a_file_that_is_no_workflow(worker: Worker, workflow: str) -> None:
    with pytest.raises(InvalidJob):
        worker.run(workflow)


@pytest.mark.backends("embedded")
@pytest.mark.parametrize(
    "update",
    [
        {"comfy_args": ("--force-fp32",)},
        {"comfy_log_level": "ERROR"},
        {"save_metadata": True},
        {"comfy_base_dir": "another"},
        {"comfyui_path": "another"},
        {"network_volume_path": "another"},
        {"volume_custom_nodes": False},
        {"worker_state_dir": "another"},
    ],
    ids=lambda update: next(iter(update)),
)
def test_settings_of_another_comfyui_are_refused(worker: Worker, tmp_path: Path, update: dict[str, Any]) -> None:
    (name,) = update
    if update[name] == "another":
        update = {name: tmp_path}
        for file in ("main.py", "execution.py"):
            (tmp_path / file).touch()
    worker.close()
    try:
        with pytest.raises(StartError, match=f"{name.upper()} is .*, not .*Use the same"):
            Worker(worker.settings.model_copy(update=update)).start()
    finally:
        worker.start()


@pytest.mark.backends("embedded")
def test_the_same_comfyui_in_other_words_is_the_same(worker: Worker, tmp_path: Path) -> None:
    runtime = worker.embedded_runtime()
    (tmp_path / "tree").symlink_to(runtime.source.path)
    (tmp_path / "base").symlink_to(runtime.source.base)
    same: list[dict[str, Any]] = [
        {"comfyui_path": tmp_path / "tree", "comfy_base_dir": tmp_path / "base"},
        {"worker_state_dir": worker.state.root.parent},
    ]
    if "--cpu" in runtime.flags:
        same.append({"comfy_args": (*worker.settings.comfy_args, "--cpu")})
    worker.close()
    try:
        for update in same:
            with Worker(worker.settings.model_copy(update=update)) as other:
                assert other.runtime is runtime
    finally:
        worker.start()


@pytest.mark.backends("embedded")
def test_a_broken_backend_is_told_and_survived(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker.runtime is not None

    def broken(*_: object, **__: Mapping[str, object]) -> None:
        raise RuntimeError("broken at /root/secret/path")

    with monkeypatch.context() as patch:
        patch.setattr(type(worker.runtime.prompts), "queue_prompt", broken)
        with pytest.raises(BackendFailed, match=r"^Internal error: RuntimeError$"):
            worker.run(graphs.solid())
    assert worker.run(graphs.solid()).ok


def test_an_interrupted_job_is_no_success(worker: Worker) -> None:
    graph = graphs.through("TestInterrupts", color=0x313233, interrupt=True) | {
        "9": graphs.node("TestShowsText", text="early")
    }
    result = worker.run(graph)
    assert result.status == "interrupted"
    assert result.errors == ("The job was interrupted before it ended",)


def test_a_message_of_another_shape_is_passed_on(worker: Worker) -> None:
    events: list[Event] = []
    graph = graphs.through("TestInterrupts", color=0x343536, interrupt=False)
    assert worker.run(graph, on_event=events.append).ok
    assert [event.data for event in events if isinstance(event, Message)] == [{"node": "1", "text": "not a number"}]


@pytest.mark.backends("embedded")
def test_a_validation_that_exits_hangs_nothing(worker: Worker) -> None:
    with pytest.raises(WorkflowRejected, match="SystemExit"):
        worker.run({"1": graphs.node("TestValidationExits", value=3)})
    assert worker.run(graphs.solid()).ok


def test_a_job_cancelled_while_it_is_staged_does_not_run(worker: Worker, png: Callable[..., bytes]) -> None:
    async def scenario() -> None:
        graph = graphs.load("a.png") | {"3": graphs.node("TestSleeps", image=["1", 0], steps=5000)}
        graph["2"]["inputs"]["images"] = ["3", 0]
        task = asyncio.create_task(worker.arun(graph, images={"a.png": png("red", (1000, 1000))}))
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        start = time.perf_counter()
        assert (await worker.arun(graphs.solid())).ok
        assert time.perf_counter() - start < 5

    asyncio.run(scenario())


def test_files_live_as_long_as_somebody_knows_them(worker: Worker) -> None:
    assert worker.run(graphs.solid()).artifacts[0].read()[:4] == b"\x89PNG"


@pytest.mark.parametrize("named", ["a\0b", "\udc80.bin"])
def test_names_that_no_answer_can_hold(worker: Worker, named: str) -> None:
    node = graphs.node("TestSavesFile", key="files", subfolder="", filename="x.bin", content="", named=named)
    (line,) = worker.run({"1": node}).errors
    assert line.encode().startswith(b"Node 1 named an output ")
