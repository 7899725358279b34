"""What nodes have finished is never reported as lost, whatever else a node says or a file is."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.answer.delivery import Delivery, make_answer
from worker.answer.reply import Answer, encode
from worker.answer.result import Artifact, Result
from worker.answer.uploader import UploadFailed
from worker.embedded.files.folders import ComfyFolders
from worker.engine.workspace import open_state
from worker.handler import make_handler
from worker.progress.job_progress import JobProgress

Ask = Callable[..., Answer]
both = pytest.mark.backends("embedded", "websocket")


@pytest.fixture
def ask(worker: Worker) -> Ask:
    """Gives a workflow to the handler; somebody listens to its events."""

    def run(graph: dict[str, Any], **more: Any) -> Answer:
        handle = make_handler(worker, on_event=JobProgress())
        return asyncio.run(handle({"id": "job", "input": {"workflow": graph, **more}}))

    return run


@pytest.fixture
def result(worker: Worker) -> Iterator[Result]:
    """Three pictures, and a text."""
    graph = graphs.solid(0x445566, batch=3) | {"9": graphs.node("TestShowsText", text="x" * 5000)}
    with contextlib.closing(worker.run(graph)) as result:
        yield result


def content(entry: dict[str, str]) -> str:
    return base64.b64decode(entry["data"]).decode()


def shows(ui: str) -> dict[str, Any]:
    """A picture, and a node that shows ``ui``, which is Python's own notation."""
    return graphs.solid(0x101112) | {"3": graphs.node("TestShows", ui=ui)}


@both
def test_messages_of_a_pack_under_comfyuis_names_do_no_harm(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "worker"):
        for _ in range(2):
            answer = ask(graphs.through("TestSendsMessages", color=0x171717))
            assert set(answer) == {"images"}
            assert [entry["node_id"] for entry in answer["images"]] == ["2"]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_frames_of_a_pack_under_comfyuis_numbers_do_no_harm(ask: Ask) -> None:
    assert set(ask(graphs.through("TestSendsFrames", color=0x171718))) == {"images"}


@both
def test_what_is_saved_elsewhere_costs_a_warning(ask: Ask, worker: Worker, tmp_path: Path) -> None:
    elsewhere = graphs.node("TestSavesFile", key="images", subfolder=str(tmp_path), filename="x.png", content="x")
    text = "Node 3 named an output outside of the output folder, which is not sent: x.png"
    assert ask({"3": elsewhere}) == {"status": "success_no_images", "images": [], "warnings": [text]}
    assert (tmp_path / "x.png").read_text() == "x", "the node has done its work"
    answer = ask(graphs.solid(0x181818) | {"3": elsewhere})
    assert ([entry["node_id"] for entry in answer["images"]], answer["warnings"]) == (["2"], [text])
    assert "errors" not in answer


@both
def test_a_node_that_saves_much_elsewhere_costs_one_warning(ask: Ask) -> None:
    names = [{"filename": f"/tmp/none/{number}.png"} for number in range(7)]
    (text,) = ask(shows(repr({"images": names})))["warnings"]
    assert text == (
        "Node 3 named 7 outputs outside of the output folder, which are not sent: 0.png, 1.png, 2.png, 3.png, 4.png, …"
    )


@pytest.mark.parametrize("by", ["filename", "subfolder"])
def test_a_file_named_by_its_full_path_arrives(ask: Ask, worker: Worker, by: str) -> None:
    output = worker.state.output
    named = {"filename": f"{output}/d/x.txt"} if by == "filename" else {"filename": "x.txt", "subfolder": f"{output}/d"}
    graph = {"1": graphs.node("TestSavesFile", key="files", subfolder="d", filename="x.txt", content="here")}
    graph["3"] = graphs.node("TestShows", ui=repr({"gifs": [named]}))
    for _ in range(2):
        answer = ask(graph)
        assert [(entry["node_id"], entry["filename"], entry["subfolder"]) for entry in answer["files"]] == [
            ("1", "x.txt", "d"), ("3", "x.txt", "d"),
        ]  # fmt: skip
        assert [content(entry) for entry in answer["files"]] == ["here", "here"]
        assert set(answer) == {"status", "images", "files"}


@both
def test_a_subfolder_that_is_a_full_path_arrives(ask: Ask) -> None:
    for subfolder in ("", "d/e"):
        graph = {"1": graphs.node("TestSavesFile", key="files", subfolder=subfolder, filename="f.txt", content="it")}
        graph["1"]["inputs"]["in_full"] = True
        (entry,) = ask(graph)["files"]
        assert (entry["filename"], entry.get("subfolder", ""), content(entry)) == ("f.txt", subfolder, "it")


@both
def test_files_of_one_name_in_several_folders_are_told_apart(ask: Ask) -> None:
    files = ask({"1": graphs.node("TestSavesInEachFolder", subfolders=",input,b/c")})["files"]
    assert [(entry["filename"], entry.get("subfolder"), content(entry)) for entry in files] == [
        ("a.txt", None, "output"), ("a.txt", None, "input"),
        ("a.txt", "input", "output input"), ("a.txt", "input", "input input"),
        ("a.txt", "b/c", "output b/c"), ("a.txt", "b/c", "input b/c"),
    ]  # fmt: skip


def test_files_of_one_name_have_places_of_their_own(worker: Worker) -> None:
    with contextlib.closing(worker.run({"1": graphs.node("TestSavesInEachFolder", subfolders=",input")})) as result:
        places = [artifact.place for artifact in result.artifacts]
    assert places == ["a.txt", "input_/a.txt", "input/a.txt", "input/input/a.txt"]


@both
@pytest.mark.parametrize(
    "ui",
    [
        {"images": [None, 5, "x", [], {}, {"type": "output"}], "text": [None, 5, {"a": [1]}]},
        {"images": [{"filename": "x.png", "type": ["temp"], "subfolder": None}]},
        {"files": [{"filename": ["x"], "subfolder": {"a": 1}, "type": {}}]},
        {"": [{"filename": "x.png"}], "animated": [True]},
        {"text": "hello"},
    ],
)
def test_a_strange_ui_dict_costs_no_picture(ask: Ask, ui: dict[str, Any]) -> None:
    for _ in range(2):
        answer = ask(shows(repr(ui)))
        assert [entry["node_id"] for entry in answer["images"]] == ["2"]


def test_what_cannot_be_a_text_costs_no_picture(ask: Ask) -> None:
    answer = ask(shows('{"text": [10**5000, "seen"]}'))
    assert answer["text"] == [{"node_id": "3", "text": "seen"}]
    assert answer["errors"] == ["Node 3 showed what cannot be made a text (ValueError)"]
    assert len(answer["images"]) == 1


def test_results_that_are_circles_cost_no_job(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """ComfyUI's cache has them, and their files are looked for in it.

    0.33.0 itself looks for their size, and breaks on it.
    """
    for _ in range(2):
        answer = ask(graphs.through("TestReturns", kind="circle"))
        assert len(answer.get("images", ())) == 1 or "RecursionError: maximum recursion depth" in str(answer["details"])
    assert "cannot be kept" not in caplog.text


def test_files_that_cannot_be_kept_for_the_cache_cost_no_job(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("nobody foresaw it")

    with monkeypatch.context() as patch:
        patch.setattr("worker.embedded.cache.reuse.FileReuse.after", broken)
        assert set(ask(graphs.solid(0x232425))) == {"images"}
    assert set(ask(graphs.solid(0x232425))) == {"images"}, "and the next job has its files, too"


def test_a_picture_that_pillow_cannot_open_is_a_file(worker: Worker) -> None:
    graph = graphs.solid(0x202122)
    for number, name in enumerate(("a.svg", "b.png", "c.exr")):
        graph[f"s{number}"] = graphs.node("TestSavesFile", key="images", subfolder="", filename=name, content="<svg/>")
    result = worker.run(graph)
    assert [image.size for image in result.images] == [(64, 64)]
    assert [artifact.filename for artifact in result.files] == ["a.svg", "b.png", "c.exr"]


def test_what_a_stuck_job_has_saved_is_copied_as_far_as_it_can_be(tmp_path: Path) -> None:
    with contextlib.closing(open_state(tmp_path)) as state:
        (state.output / "d").mkdir()
        (state.output / "d" / "a.txt").write_text("a")
        (state.output / "b.txt").symlink_to("gone")  # As where a node removes a file meanwhile.
        (state.output / "c.txt").write_text("c")
        workspace = state.new_workspace()
        ComfyFolders(state, tmp_path / "none").copy_outputs(workspace)
        assert sorted(str(path.relative_to(workspace.output)) for path in workspace.output.rglob("*.txt")) == [
            "c.txt",
            "d/a.txt",
        ]


class _Uploads:
    """An uploader that stores what ``fate`` lets it: it returns a URL, or raises."""

    def __init__(self, fate: Callable[[Artifact], str]) -> None:
        self._fate = fate

    def begin(self, path: Path) -> None:
        pass

    def prepare(self, artifact: Artifact) -> Future[str]:
        upload: Future[str] = Future()
        try:
            upload.set_result(self._fate(artifact))
        except UploadFailed as error:
            upload.set_exception(error)
        return upload

    def close(self) -> None:
        pass


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), UploadFailed("refused"), MemoryError()])
def test_one_upload_that_fails_costs_no_other_file(result: Result, error: Exception) -> None:
    def fate(artifact: Artifact) -> str:
        if artifact.filename == "ComfyUI_00002_.png":
            raise error
        return f"https://example.com/{artifact.filename}"

    answer = make_answer(result, Delivery(_Uploads(fate)))
    assert [(entry["filename"], entry["type"]) for entry in answer["images"]] == [
        ("ComfyUI_00001_.png", "s3_url"), ("ComfyUI_00002_.png", "base64"), ("ComfyUI_00003_.png", "s3_url"),
    ]  # fmt: skip
    (line,) = answer["errors"]
    assert line.startswith("ComfyUI_00002_.png could not be stored in the bucket (")


@pytest.mark.parametrize("uploader", [None, _Uploads(lambda _: "https://example.com")])
def test_a_file_that_vanishes_costs_no_other_file(result: Result, uploader: _Uploads | None) -> None:
    def none_stored(_: Artifact) -> str:
        raise UploadFailed("No such file or directory")

    result.artifacts[1].path.unlink()
    answer = make_answer(result, Delivery(uploader and _Uploads(none_stored)))
    assert [entry["filename"] for entry in answer["images"]] == ["ComfyUI_00001_.png", "ComfyUI_00003_.png"]
    assert "ComfyUI_00002_.png could not be read (No such file or directory), and is not sent" in answer["errors"]
    assert result.size > 0


@pytest.mark.parametrize("short_of", [0, 400])
def test_what_is_sent_in_place_of_an_upload_never_makes_the_answer_too_large(result: Result, short_of: int) -> None:
    """The texts and the URLs in the answer take room as well."""

    def fate(artifact: Artifact) -> str:
        if artifact.filename == "ComfyUI_00003_.png":
            raise UploadFailed("refused")
        return "https://example.com/" + "x" * 2000

    whole = len(encode(make_answer(result, Delivery(_Uploads(fate)))).output)
    limit_mb = (whole + 300 - short_of) / 1e6
    answer = make_answer(result, Delivery(_Uploads(fate), limit_mb))
    encode(answer, limit_mb)
    assert [entry["type"] for entry in answer["images"]][:2] == ["s3_url", "s3_url"]


@both
def test_what_was_finished_before_a_limit_is_sent(ask: Ask) -> None:
    graph = graphs.solid(0x191919)
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="ComfyUI_00001_.png")
    graph["4"] = graphs.node("TestSleeps", image=["3", 0], steps=5000)
    graph["5"] = graphs.node("SaveImage", images=["4", 0], filename_prefix="late")
    began = time.monotonic()
    answer = ask(graph, timeout_s=3)
    assert time.monotonic() - began < 30
    assert [entry["node_id"] for entry in answer["images"]] == ["2"]
    assert answer["error_type"] == "timeout"
