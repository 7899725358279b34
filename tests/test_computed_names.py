"""A name that other nodes compute does not give a caller the file of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import graphs
import media
import pytest
from pictures import png

from worker import Worker
from worker.embedded.cache.fingerprint import JobContent, _marks
from worker.errors import WorkflowRejected
from worker.events import Event, NodeStarted

Graph = dict[str, Any]
SHADES = (40, 200)  # What the files of the two callers show.


def grey(shade: int) -> bytes:
    return png((shade, shade, shade))


def sound(shade: int) -> bytes:
    return media.sound(shade * 100)


@dataclasses.dataclass(frozen=True)
class Reader:
    """A node class, its input that names a file or a folder, and what it is given there."""

    class_type: str
    input_name: str
    file: str
    make: Callable[[int], bytes] = grey
    folder: str | None = None
    more: Graph = dataclasses.field(default_factory=dict)
    shows: bool = True  # Whether its first output shows what was in the file.

    def __str__(self) -> str:
        return self.class_type


SIZE = {"width": 8, "height": 8}
READERS = [
    Reader("LoadImage", "image", "in.png"),
    Reader("LoadImageMask", "image", "in.png", more={"channel": "red"}),
    Reader("LoadImageOutput", "image", "in.png"),
    Reader("WebcamCapture", "image", "in.png", more={**SIZE, "capture_on_queue": True}),
    Reader("Painter", "mask", "in.png", more={"width": 64, "height": 64, "bg_color": "#000000"}),
    Reader("LoadLatent", "latent", "in.latent", media.latent),
    Reader("LoadAudio", "audio", "in.wav", sound),
    Reader("RecordAudio", "audio", "in.wav", sound),
    Reader("LoadVideo", "file", "in.mp4", media.video),
    Reader("LoadImageDataSetFromFolder", "folder", "set/in.png", folder="set"),
    Reader("LoadImageTextDataSetFromFolder", "folder", "set/in.png", folder="set"),
    Reader("LoadVideoDataSetFromFolder", "folder", "set/in.mp4", media.video, folder="set"),
    Reader("LoadVideoTextDataSetFromFolder", "folder", "set/in.mp4", media.video, folder="set"),
    Reader("Load3DAdvanced", "model_file", "in.obj", media.model, more=SIZE | {"viewport_state": {}}, shows=False),
    Reader("TestLoadsByName", "file", "in.png"),
]


def computed(worker: Worker, text: str) -> Graph:
    """Nodes 11 to 13, whose last hands on ``text`` as a value of any type, and which do not name it."""
    assert worker.runtime is not None
    half = len(text) // 2
    last = graphs.node("ComfySwitchNode", switch=True, on_false=["11", 0], on_true=["11", 0])
    if not worker.runtime.has_node_class("ComfySwitchNode"):
        last = graphs.node("TestHandsOn", value=["11", 0])
    return {
        "11": graphs.node("StringConcatenate", string_a=text[:half], string_b=text[half:], delimiter=""),
        "13": last,
    }


def reading(worker: Worker, reader: Reader) -> Graph:
    """``reader`` (node 1) with a computed name, and PreviewAny for what it gives."""
    name = reader.folder or reader.file
    graph = computed(worker, name)
    graph["1"] = graphs.node(reader.class_type, **reader.more, **{reader.input_name: ["13", 0]})
    shown = "1"
    if reader.make is media.video:
        graph["2"] = graphs.node("GetVideoComponents", video=["1", 0])
        shown = "2"
    graph["3"] = graphs.node("PreviewAny", source=[shown, 0])
    return graph


def run(worker: Worker, graph: Graph, files: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """The texts that the job shows, and the classes of the nodes that ran."""
    events: list[Event] = []
    result = worker.run(graph, images=files, on_event=events.append)
    assert result.ok, result.errors
    return result.text, [event.class_type for event in events if isinstance(event, NodeStarted)]


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_a_computed_name_reads_the_job_s_own_file(worker: Worker, reader: Reader) -> None:
    assert worker.runtime is not None
    if not worker.runtime.has_node_class(reader.class_type):
        pytest.skip("this version has no such node")
    graph = reading(worker, reader)
    mine, theirs = ({reader.file: reader.make(shade)} for shade in SHADES)
    try:
        first, _ = run(worker, graph, mine)
    except WorkflowRejected as rejected:  # Many validate the name itself, and so take no computed one.
        if "could not check this node" not in str(rejected):
            raise
        return
    second, ran = run(worker, graph, theirs)
    assert reader.class_type in ran
    if reader.shows:
        assert first != second
    again, ran = run(worker, graph, theirs)
    assert reader.class_type not in ran, "equal files staged again cost nothing"
    assert again == second
    assert not reader.shows or worker.run(graph).status == "error", "and without a file there is none"


def test_every_reader_of_this_version_is_known(worker: Worker) -> None:
    """Code of ComfyUI that opens files in its folders is found, and no node that only computes is taken for it."""
    assert worker.runtime is not None
    classes = worker.runtime.files.classes
    for reader in READERS:
        assert classes.may_read_files(reader.class_type), reader
    for name in ("RecordAudio", "Load3D", "LoadTrainingDataset"):
        assert classes.may_read_files(name), name
    assert classes.reads_saved_files("LoadTrainingDataset")
    for name in ("KSampler", "CLIPTextEncode", "VAEDecode", "SaveImage", "PreviewImage", "CheckpointLoaderSimple",
                 "CLIPLoader", "UNETLoader", "LoraLoader", "ControlNetApplyAdvanced"):  # fmt: skip
        assert not classes.may_read_files(name), name


def test_what_another_caller_s_job_has_saved_is_not_served_from_the_cache(worker: Worker) -> None:
    """The folders of saved files are emptied after each job. So what is read there follows from the job."""
    assert worker.runtime is not None
    execution = worker.runtime.main.execution
    loads = [
        graphs.node("LoadTrainingDataset", folder_name="set"),
        graphs.node("TestLoadsByName", file="ComfyUI_00001_.png [output]"),
    ]
    for node in loads:
        marks = []
        for color in (1, 2, 1):
            graph = graphs.solid(color) | {"3": node}
            prompt = execution.DynamicPrompt(graph)
            marks.append(_marks(prompt, "3", worker.runtime.files.classes, JobContent(workflow=graph)))
        assert marks[0] == marks[2] != marks[1]


@pytest.mark.parametrize("name", [".", "./", "sub/..", "*.png", "sub/../*", "in.???"])
def test_a_pattern_or_the_folder_itself_names_all_files(worker: Worker, name: str) -> None:
    graph = {"1": graphs.node("TestLoadsFirst", pattern=name), "2": graphs.node("PreviewAny", source=["1", 0])}
    texts = [run(worker, graph, {"in.png": grey(shade), "sub/x.png": grey(9)})[0] for shade in SHADES]
    assert texts[0] != texts[1]
