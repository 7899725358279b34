"""Each job is alone: files, names, caches, keys."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import pytest
from media import video

from worker import Worker
from worker.errors import WorkflowRejected
from worker.events import Event, NodeStarted

Png = Callable[..., bytes]


def run_and_watch(worker: Worker, workflow: Any, **arguments: Any) -> tuple[Any, list[str]]:
    """The result, and the classes of the nodes that ran."""
    events: list[Event] = []
    result = worker.run(workflow, on_event=events.append, **arguments)
    return result, [event.class_type for event in events if isinstance(event, NodeStarted)]


def pixel(result: Any, index: int = 0) -> Any:
    """The first pixel of a result's picture."""
    return result.images[index].convert("RGB").getpixel((0, 0))


@pytest.fixture
def static(worker: Worker, png: Png) -> Any:
    """Static files in the base directory's input folder, mirrored as they are at a start."""
    assert worker.runtime is not None
    folders = worker.runtime.folders
    files = {"shipped.png": png("blue"), "sub/deep/shipped.png": png("lime"), "plain": png("white")}
    for name, data in files.items():
        path = folders.static_input / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folders.mirror_static_input()
    return folders


def test_static_files_are_readable_and_cannot_be_replaced_for_others(worker: Worker, static: Any, png: Png) -> None:
    before = {path: path.read_bytes() for path in static.static_input.rglob("*") if path.is_file()}
    for _ in range(2):
        assert pixel(worker.run(graphs.load("shipped.png"))) == (0, 0, 255)
        assert pixel(worker.run(graphs.load("sub/deep/shipped.png"))) == (0, 255, 0)
        assert pixel(worker.run(graphs.load("shipped.png"), images={"shipped.png": png("red")})) == (255, 0, 0)
        mine = {"sub/deep/shipped.png": png("red"), "sub/deep/mine.png": png("gray"), "sub/new/a.png": png("red")}
        assert pixel(worker.run(graphs.load("sub/deep/shipped.png"), images=mine)) == (255, 0, 0)
        # A file where the static ones have a folder, and a folder where they have a file.
        assert pixel(worker.run(graphs.load("sub"), images={"sub": png("red")})) == (255, 0, 0)
        assert pixel(worker.run(graphs.load("plain/a.png"), images={"plain/a.png": png("red")})) == (255, 0, 0)
    for name in ("sub/deep/mine.png", "sub/new/a.png", "plain/a.png"):
        with pytest.raises(WorkflowRejected):
            worker.run(graphs.load(name))
    assert pixel(worker.run(graphs.load("plain"))) == (255, 255, 255)
    assert before == {path: path.read_bytes() for path in static.static_input.rglob("*") if path.is_file()}


@pytest.fixture
def outside(tmp_path: Path, png: Png) -> Path:
    """A picture, a latent and a sound that no job may read."""
    (tmp_path / "secret.png").write_bytes(png("red"))
    for name in ("secret.latent", "secret.wav", "secret.glb", "secret.mp4"):
        (tmp_path / name).write_bytes(b"secret")
    return tmp_path


LOADERS = [
    ("LoadImage", "image", "png", {}),
    ("LoadImageMask", "image", "png", {"channel": "red"}),
    ("LoadImageOutput", "image", "png", {}),
    ("LoadLatent", "latent", "latent", {}),
    ("LoadAudio", "audio", "wav", {}),
    ("LoadVideo", "file", "mp4", {}),
]


@pytest.mark.parametrize("annotation", ["", " [input]", " [output]", " [temp]"])
@pytest.mark.parametrize(("loader", "field", "suffix", "more"), LOADERS)
def test_no_loader_leaves_its_folder(
    worker: Worker, outside: Path, loader: str, field: str, suffix: str, more: dict[str, Any], annotation: str
) -> None:
    assert worker.runtime is not None
    if not worker.runtime.has_node_class(loader):
        pytest.skip("this version has no such node")
    secret = outside / f"secret.{suffix}"
    up = "../" * 20
    for name in (str(secret), up + str(secret)[1:], f"sub/{up}{str(secret)[1:]}"):
        graph = {
            "1": graphs.node(loader, **{field: name + annotation}, **more),
            "2": graphs.node("PreviewAny", source=["1", 0]),
        }
        with pytest.raises(WorkflowRejected) as caught:
            worker.run(graph)
        assert "Node 1" in str(caught.value)
        assert str(outside) + "/" not in str(caught.value).replace(name, "")


def test_a_link_in_the_input_folder_leads_nowhere_else(worker: Worker, outside: Path) -> None:
    assert worker.runtime is not None
    link = worker.runtime.state.input / "link.png"
    link.symlink_to(outside / "secret.png")
    with pytest.raises(WorkflowRejected):
        worker.run(graphs.load("link.png"))
    assert not link.is_symlink(), "what lies in the folder leaves with the job"


@pytest.mark.parametrize("folder", ["../../../../../../../../tmp", "/tmp", "a/../../b", "..\\.."])
@pytest.mark.parametrize("class_type", ["LoadImageDataSetFromFolder", "LoadImageTextDataSetFromFolder"])
@pytest.mark.parametrize("linked", [False, True])
def test_dataset_folders_are_contained(worker: Worker, class_type: str, folder: str, linked: bool) -> None:
    graph = {
        "1": graphs.node(class_type, folder=["3", 0] if linked else folder),
        "2": graphs.node("PreviewAny", source=["1", 0]),
        "3": graphs.node("PrimitiveString", value=folder),
    }
    try:
        (complaint,) = worker.run(graph).errors
    except WorkflowRejected as rejected:
        complaint = str(rejected)
    assert re.search(r"Node (ID: )?1\b", complaint)


def test_nothing_is_written_outside(worker: Worker, tmp_path: Path) -> None:
    target = "../" * 20 + str(tmp_path)[1:]
    graph = graphs.solid()
    graph["2"]["inputs"]["filename_prefix"] = f"{target}/x"
    graph["3"] = graphs.node("SaveImageDataSetToFolder", images=["1", 0], folder_name=target, filename_prefix="x")
    result = worker.run(graph)
    assert result.status == "error"
    assert not list(tmp_path.iterdir())


VIDEO = {
    "1": graphs.node("LoadVideo", file="in.mp4"),
    "2": graphs.node("GetVideoComponents", video=["1", 0]),
    "3": graphs.node("TestCountsRuns", image=["2", 0]),
    "4": graphs.node("SaveImage", images=["3", 0], filename_prefix="frame"),
}
BY_NAME = {
    "1": graphs.node("TestLoadsByName", file="in.png"),
    "2": graphs.node("PreviewAny", source=["1", 0]),
}


@pytest.mark.backends("embedded", "websocket")
def test_equal_names_with_other_content_are_other_files(worker: Worker, png: Png) -> None:
    for graph, name, dark, light in (
        (graphs.load("in.png"), "in.png", png("#000000"), png("#ffffff")),
        (VIDEO, "in.mp4", video(16), video(235)),
    ):
        seen = [pixel(worker.run(graph, images={name: data}))[0] for data in (dark, light, dark)]
        assert seen[0] == seen[2] < 60 < 200 < seen[1]
    texts = [worker.run(BY_NAME, images={"in.png": png(color)}).text for color in ("red", "blue", "red")]
    assert texts == [["(255, 0, 0)"], ["(0, 0, 255)"], ["(255, 0, 0)"]]


@pytest.mark.parametrize("kind", ["image", "video", "by name"])
@pytest.mark.backends("embedded", "websocket")
def test_equal_files_staged_again_cost_nothing(worker: Worker, png: Png, kind: str) -> None:
    graph, name, data = {
        "image": (graphs.load("in.png"), "in.png", png("#123456")),
        "video": (VIDEO, "in.mp4", video(99)),
        "by name": (BY_NAME, "in.png", png("#654321")),
    }[kind]
    first, _ = run_and_watch(worker, graph, images={name: data})
    second, ran = run_and_watch(worker, graph, images={name: data})
    assert set(ran) <= {"SaveImage", "PreviewAny"}
    assert [image.tobytes() for image in first.images] == [image.tobytes() for image in second.images]
    assert first.text == second.text


SAMPLED = {
    "1": graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=0xFFFFFF),
    "2": graphs.node("TestSamplesAndSaves", image=["1", 0], filename_prefix="saved-once"),
    "3": graphs.node("TestCountsRuns", image=["2", 0]),
    "4": graphs.node("SaveImage", images=["3", 0], filename_prefix="saved-once"),
}


@pytest.mark.backends("embedded", "websocket")
def test_a_sampler_that_saves_is_not_run_again(worker: Worker) -> None:
    first, ran = run_and_watch(worker, SAMPLED)
    assert "TestSamplesAndSaves" in ran
    for _ in range(2):
        again, ran = run_and_watch(worker, SAMPLED)
        assert ran == []
        assert [a.filename for a in again.artifacts] == [a.filename for a in first.artifacts]
        assert [a.read() for a in again.artifacts] == [a.read() for a in first.artifacts]
    assert [a.filename for a in first.artifacts] == ["saved-once_00001_.png", "saved-once_00002_.png"]


def _lose_kept_files(worker: Worker) -> None:
    """Let go of all kept files, as the limit does."""
    assert worker.runtime is not None
    reuse = worker.runtime.files.reuse
    assert reuse._kept
    for key in list(reuse._kept):
        reuse._drop(key)


def test_where_a_sampler_s_files_are_gone_it_runs_again(worker: Worker) -> None:
    assert worker.runtime is not None
    first, _ = run_and_watch(worker, SAMPLED)
    _lose_kept_files(worker)
    again, ran = run_and_watch(worker, SAMPLED)
    assert "TestSamplesAndSaves" in ran
    assert [a.read() for a in again.artifacts] == [a.read() for a in first.artifacts]


def test_kept_files_have_a_limit(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker.runtime is not None
    reuse = worker.runtime.files.reuse
    monkeypatch.setattr(reuse, "limit_bytes", 10)
    worker.run(SAMPLED)
    assert not reuse._kept
    assert not list(worker.runtime.state.kept.iterdir())
    result, ran = run_and_watch(worker, SAMPLED)
    assert "TestSamplesAndSaves" in ran
    assert len(result.images) == 2


def test_another_caller_s_job_in_between_changes_nothing(worker: Worker, png: Png) -> None:
    graph = graphs.load("in.png") | {"5": SAMPLED["2"] | {"inputs": {"image": ["1", 0], "filename_prefix": "s"}}}
    mine = [worker.run(graph, images={"in.png": png("red")})]
    worker.run(graph, images={"in.png": png("blue")})
    worker.run(graphs.solid())
    mine.append(worker.run(graph, images={"in.png": png("red")}))
    assert [image.tobytes() for image in mine[0].images] == [image.tobytes() for image in mine[1].images]
    assert [a.filename for a in mine[0].artifacts] == [a.filename for a in mine[1].artifacts]


def test_a_node_behind_a_save_node_stays_cached(worker: Worker) -> None:
    graph = graphs.solid(0x778899)
    assert worker.runtime is not None
    if not importlib.import_module("nodes").SaveImage.RETURN_TYPES:
        pytest.skip("this version's SaveImage hands nothing on")
    graph["3"] = graphs.node("TestCountsRuns", image=["2", 0])
    graph["4"] = graphs.node("SaveImage", images=["3", 0], filename_prefix="b")
    worker.run(graph)
    result, ran = run_and_watch(worker, graph)
    assert ran == []
    assert len(result.images) == 2
    _lose_kept_files(worker)
    result, ran = run_and_watch(worker, graph)
    assert ran == ["SaveImage", "SaveImage"]
    assert len(result.images) == 2


def test_names_start_at_one_in_every_job(worker: Worker) -> None:
    two = graphs.solid(0x0A0A0A)
    two["4"] = graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=7)
    two["3"] = graphs.node("SaveImage", images=["4", 0], filename_prefix="ComfyUI")
    assert sorted(a.filename for a in worker.run(two).artifacts) == ["ComfyUI_00001_.png", "ComfyUI_00002_.png"]
    two.pop("2")
    assert [a.filename for a in worker.run(two).artifacts] == ["ComfyUI_00001_.png"]
    two["5"] = graphs.node("SaveImage", images=["6", 0], filename_prefix="ComfyUI")
    two["6"] = graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=8)
    assert sorted(a.filename for a in worker.run(two).artifacts) == ["ComfyUI_00001_.png", "ComfyUI_00002_.png"]


@pytest.mark.backends("embedded", "websocket")
def test_is_changed_in_a_caller_s_graph_is_not_believed(worker: Worker, png: Png) -> None:
    graph = graphs.load("in.png")
    graph["1"]["is_changed"] = ["pinned"]
    assert pixel(worker.run(graph, images={"in.png": png("red")})) == (255, 0, 0)
    assert pixel(worker.run(graph, images={"in.png": png("blue")})) == (0, 0, 255)


def test_a_failed_or_interrupted_job_leaves_no_trace(worker: Worker, png: Png) -> None:
    reference = worker.run(graphs.load("in.png"), images={"in.png": png("teal")}).images[0].tobytes()
    for kind in ("ValueError", "SystemExit"):
        broken = graphs.load("in.png") | {"3": graphs.node("TestRaises", image=["1", 0], kind=kind)}
        broken["4"] = graphs.node("SaveImage", images=["3", 0], filename_prefix="x")
        assert worker.run(broken, images={"in.png": png("black")}).status == "error"
        result = worker.run(graphs.load("in.png"), images={"in.png": png("teal")})
        assert (result.images[0].tobytes(), result.artifacts[0].filename) == (reference, "ComfyUI_00001_.png")


def test_a_folder_that_a_node_removed_is_there_again(worker: Worker) -> None:
    assert worker.runtime is not None
    for folder in (worker.runtime.state.output, worker.runtime.state.temp, worker.runtime.state.input):
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() or path.is_symlink() else path.rmdir()
        folder.rmdir()
    assert worker.run(graphs.solid()).ok


def test_two_equal_save_nodes_are_one_to_comfyui_and_two_to_the_caller(worker: Worker) -> None:
    graph = graphs.solid(0x0B0B0B) | {"3": graphs.node("SaveImage", images=["1", 0], filename_prefix="ComfyUI")}
    for _ in range(2):
        found = [(a.node_id, a.filename) for a in worker.run(graph).artifacts]
        assert found == [("2", "ComfyUI_00001_.png"), ("3", "ComfyUI_00001_.png")]


def test_a_node_that_overwrites_a_file_does_not_reach_into_another_job(worker: Worker) -> None:
    mine = {"1": graphs.node("TestSavesFile", key="files", subfolder="", filename="fix.txt", content="mine")}
    other = mine | {
        "2": graphs.node("TestSavesFile", key="files", subfolder="", filename="fix.txt", content="theirs"),
    }
    assert worker.run(mine).files[0].read() == b"mine"
    delivered = worker.run(other).files
    delivered[0].path.write_bytes(b"changed by its owner")
    again = worker.run(mine).files
    assert [file.read() for file in again] == [b"mine"]


def test_a_file_that_its_owner_changes_is_made_again_for_others(worker: Worker) -> None:
    graph = {
        "1": graphs.node("TestSavesFile", key="files", subfolder="", filename="own.txt", content="made by the node")
    }
    delivered = worker.run(graph).files[0]
    delivered.path.write_bytes(b"changed by its owner")
    assert worker.run(graph).files[0].read() == b"made by the node"
    assert delivered.read() == b"changed by its owner"


def test_a_batch_that_was_cut_short_does_not_go_on_in_the_next_job(worker: Worker) -> None:
    batch = {
        "1": graphs.node("TestCounter", start=10),
        "2": graphs.node("TestCounts", counter=["1", 0], fail=False),
    }
    failing = {**batch, "2": graphs.node("TestCounts", counter=["1", 0], fail=True)}
    assert worker.run(failing).status == "error"
    assert worker.run(batch).text == ["11"]


def test_texts_name_no_folder_of_the_machine(worker: Worker) -> None:
    assert worker.runtime is not None
    text = f"saved to {worker.runtime.state.output}/a.png and /etc/hostname"
    graph = {"1": graphs.node("TestShowsText", text=text)}
    assert worker.run(graph).text == ["saved to output/a.png and /etc/hostname"]


def test_another_caller_s_graph_is_not_shown_from_the_cache(worker: Worker) -> None:
    for text in ("mine", "theirs"):
        graph = {"1": graphs.node("TestSeesGraph"), "2": graphs.node("TestShowsText", text=text)}
        assert sorted(worker.run(graph).text) == sorted(["None", text, text])


def test_a_prompt_queued_after_its_job_runs_in_none(worker: Worker) -> None:
    worker.run({"1": graphs.node("TestQueuesLate")})
    time.sleep(0.3)
    assert worker.run({"1": graphs.node("TestShowsText", text="next")}).text == ["next"]


@pytest.mark.parametrize("name", ["sub//in.png", "sub/./in.png", "./sub/in.png"])
def test_other_spellings_of_a_name_are_the_same_file(worker: Worker, png: Png, name: str) -> None:
    graph = BY_NAME | {"1": graphs.node("TestLoadsByName", file=name)}
    texts = [worker.run(graph, images={"sub/in.png": png(color)}).text for color in ("red", "blue")]
    assert texts == [["(255, 0, 0)"], ["(0, 0, 255)"]]
    assert worker.run(graph).status == "error"


@pytest.mark.parametrize("class_type", ["SaveImageDataSetToFolder", "SaveImageTextDataSetToFolder"])
def test_a_prefix_of_a_dataset_stays_in_its_folder(worker: Worker, tmp_path: Path, class_type: str) -> None:
    graph = graphs.solid()
    for index, prefix in enumerate((f"{tmp_path}/x", "../" * 20 + f"{tmp_path}/x"[1:])):
        node = graphs.node(class_type, images=["1", 0], folder_name="set", filename_prefix=prefix, mode="overwrite")
        if "Text" in class_type:
            node["inputs"]["texts"] = "caption"
        graph["3"] = node
        result = worker.run(graph)
        assert result.status == "error", index
        assert "TestRaises" not in result.errors[0]
    assert not list(tmp_path.iterdir())


def test_folders_that_nodes_offer_are_there_for_each_job(worker: Worker) -> None:
    folders = worker.embedded_runtime().folders
    graph = {"1": graphs.node("TestChoosesFolder", folder="grids")}
    with pytest.raises(WorkflowRejected, match="'grids' is not in the list"):
        worker.run(graph)
    folders.output_folders = ("grids", "maps/height")
    folders.make_output_folders()  # As at a start.
    try:
        for _ in range(2):
            with contextlib.closing(worker.run(graph)) as result:
                assert [(a.subfolder, a.filename, a.read()) for a in result.files] == [
                    ("grids", "chosen.txt", b"grids")
                ]
            assert sorted(path.name for path in folders.state.output.rglob("*")) == ["grids", "height", "maps"]
        folders.drop_outputs()  # As where a job is run once more.
        assert (folders.state.output / "maps" / "height").is_dir()
    finally:
        folders.output_folders = ()
        folders.drop_outputs()


def test_files_of_a_refused_job_go_at_once(worker: Worker, png: Png) -> None:
    assert worker.runtime is not None
    jobs = worker.runtime.state.root / "jobs"
    gc.collect()
    before = set(jobs.iterdir())
    with pytest.raises(WorkflowRejected):
        worker.run(graphs.load("b.png"), images={"a.png": png()})
    assert set(jobs.iterdir()) <= before  # Results of earlier tests may go meanwhile.


def test_static_folders_may_be_links(worker: Worker, static: Any, png: Png, tmp_path: Path) -> None:
    (tmp_path / "linked.png").write_bytes(png("yellow"))
    (static.static_input / "folder").symlink_to(tmp_path)
    (tmp_path / "ring").symlink_to(static.static_input)
    static.mirror_static_input()
    assert pixel(worker.run(graphs.load("folder/linked.png"))) == (255, 255, 0)


PACK_WITH_FOLDERS = """
import os
import folder_paths
PLACES = [os.path.join(folder, "of-pack") for folder in
          (folder_paths.get_output_directory(), folder_paths.get_temp_directory(), folder_paths.get_input_directory())]
for place in PLACES:
    os.makedirs(place, exist_ok=True)
with open(os.path.join(PLACES[2], "example.txt"), "w") as file:
    file.write("an example")

class Uses:
    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = (), "run", True, "test"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {})}}
    def run(self, seed):
        with open(os.path.join(PLACES[1], "between.txt"), "w"), open(os.path.join(PLACES[0], "a.txt"), "w"):
            pass
        with open(os.path.join(PLACES[2], "example.txt")) as file:
            return {"ui": {"text": [file.read()]}}

NODE_CLASS_MAPPINGS = {"Uses": Uses}
"""
TWO_JOBS = """
from worker import Worker
with Worker() as worker:
    for seed in (1, 2):
        result = worker.run({"1": {"class_type": "Uses", "inputs": {"seed": seed}}})
        print([text.text for text in result.texts], [(file.subfolder, file.filename) for file in result.files])
"""


def test_what_a_pack_puts_into_the_folders_when_it_is_imported_is_there_for_each_job(
    tmp_path: Path, project: Path
) -> None:
    """As on a server, where nothing is removed."""
    (tmp_path / "custom_nodes" / "pack").mkdir(parents=True)
    (tmp_path / "custom_nodes" / "pack" / "__init__.py").write_text(PACK_WITH_FOLDERS)
    environment = os.environ | {"COMFY_BASE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", TWO_JOBS], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["['an example'] [('of-pack', 'a.txt')]"] * 2, done.stderr[-2000:]


def test_a_packs_own_queue_is_asked_and_may_give_nothing(
    embedded_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = type(embedded_worker.embedded_runtime().prompts._server.prompt_queue)
    stock, asked = queue.get, []

    def get(self: Any, timeout: float | None = None) -> Any:
        asked.append(len(self.queue))
        return None if len(asked) == 1 else stock(self, timeout)

    monkeypatch.setattr(queue, "get", get)
    assert len(embedded_worker.run(graphs.solid()).images) == 0
    assert len(embedded_worker.run(graphs.solid()).images) == 1
    assert asked == [1, 1]
