"""What lies in a job's output folder at its end is the job's, whether a node has named it or not."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Callable
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.answer.reply import Answer
from worker.handler import JobHandler

Ask = Callable[..., Answer]
Graph = dict[str, Any]


@pytest.fixture
def ask(worker: Worker) -> Ask:
    def run(graph: Graph, limit_mb: float | None = None, **more: Any) -> Answer:
        raw = {"id": "job", "input": {"workflow": graph, **more}}
        return asyncio.run(JobHandler(worker).answer(raw, limit_mb=limit_mb))

    return run


def image(color: int) -> Graph:
    """Node 1: an image."""
    return {"1": graphs.node("EmptyImage", width=16, height=16, batch_size=1, color=color)}


def named(entries: list[dict[str, str]]) -> list[tuple[str, str, str | None]]:
    return [(entry["node_id"], entry["filename"], entry.get("subfolder")) for entry in entries]


def runs(class_type: str) -> list[int]:
    """What a class of the tests' node pack counts."""
    classes = sys.modules["nodes"].NODE_CLASS_MAPPINGS
    found: list[int] = classes[class_type].runs
    return found


def test_a_picture_and_its_tags_arrive_where_only_a_preview_is_named(ask: Ask) -> None:
    graph = image(0x310001) | {"2": graphs.node("TestSavesWithTags", image=["1", 0], tags="cat, lake")}
    before = len(runs("TestSavesWithTags"))
    for _ in range(3):
        answer = ask(graph)
        assert named(answer["files"]) == [("2", "tagged_00000001.png", None), ("2", "tagged_00000001.txt", None)]
        assert [entry["media_type"] for entry in answer["files"]] == ["image/png", "text/plain"]
        assert base64.b64decode(answer["files"][1]["data"]) == b"cat, lake"
        assert set(answer) == {"status", "images", "files"}
    assert len(runs("TestSavesWithTags")) == before + 1, "it is served from the cache, with its files"


def test_a_file_beside_a_named_one_arrives(ask: Ask) -> None:
    graph = image(0x310002) | {"2": graphs.node("TestSavesWithCaption", image=["1", 0], size=5)}
    for _ in range(2):
        answer = ask(graph)
        assert named(answer["images"]) == [("2", "a.png", "captioned")]
        assert named(answer["files"]) == [("2", "a.caption", "captioned")]


def test_the_node_of_each_unnamed_file_is_told(ask: Ask) -> None:
    """They take less time than files' times can tell apart."""
    graph = image(0x310003) | {
        str(number): graphs.node("TestSavesUnnamed", image=["1", 0], filename=f"{number}.txt", content="x")
        for number in range(2, 9)
    }
    graph["9"] = graphs.node("SaveImage", images=["1", 0], filename_prefix="p")
    for _ in range(2):
        answer = ask(graph)
        assert named(answer["files"]) == [(str(number), f"{number}.txt", None) for number in range(2, 9)]
        assert named(answer["images"]) == [("9", "p_00001_.png", None)]


def test_what_is_saved_in_passing_arrives_also_from_the_cache(ask: Ask) -> None:
    graph = graphs.through("TestSavesInPassing", color=0x310004, filename="log.txt", content="seen")
    for _ in range(2):
        answer = ask(graph)
        assert named(answer["files"]) == [("3", "log.txt", None)]
        assert named(answer["images"]) == [("2", "ComfyUI_00001_.png", None)]


def test_files_of_a_subgraph_have_the_node_that_the_user_sees(ask: Ask) -> None:
    graph = image(0x310005) | {"7": graphs.node("TestExpandsIntoUnnamed", image=["1", 0])}
    for _ in range(2):
        assert named(ask(graph)["files"]) == [("7", "inner.txt", None)]


def test_nobody_gets_an_unnamed_file_of_another_job(ask: Ask) -> None:
    """A thread saves it while the other job's node runs, so it seems to be that one's."""
    shared = graphs.through("TestTakesASecond", color=0x310006)
    own = shared | {"0": graphs.node("TestSavesLater", image=["1", 0], filename="mine.txt", content="mine")}
    ordered = {node_id: own[node_id] for node_id in ("0", "1", "3", "2")}
    assert [entry["filename"] for entry in ask(ordered)["files"]] == ["mine.txt"]
    other = ask(shared)
    assert (named(other["images"]), "files" in other) == ([("2", "ComfyUI_00001_.png", None)], False)


def test_a_node_runs_again_where_its_unnamed_files_are_not_kept(
    ask: Ask, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worker.runtime is not None
    monkeypatch.setattr(worker.runtime.files.reuse, "limit_bytes", 10)
    graph = image(0x310007) | {"2": graphs.node("TestSavesUnnamed", image=["1", 0], filename="x.txt", content="y" * 50)}
    for _ in range(2):
        assert named(ask(graph)["files"]) == [("2", "x.txt", None)]
    assert not worker.runtime.files.reuse._kept


def test_kept_unnamed_files_that_make_room_for_others_come_again(
    ask: Ask, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worker.runtime is not None
    monkeypatch.setattr(worker.runtime.files.reuse, "limit_bytes", 80)
    graph, other = (
        image(color) | {"2": graphs.node("TestSavesUnnamed", image=["1", 0], filename="x.txt", content="y" * 50)}
        for color in (0x310008, 0x310009)
    )
    for each in (graph, other, graph):
        assert named(ask(each)["files"]) == [("2", "x.txt", None)]


def test_unnamed_files_are_left_out_where_the_answer_would_not_fit(ask: Ask) -> None:
    graph = image(0x31000A) | {"2": graphs.node("TestSavesWithCaption", image=["1", 0], size=200_000)}
    graph["3"] = graphs.node("TestSavesUnnamed", image=["1", 0], filename="small.txt", content="s")
    answer = ask(graph, limit_mb=0.1)
    assert named(answer["images"]) == [("2", "a.png", "captioned")]
    assert named(answer["files"]) == [("3", "small.txt", None)]
    assert answer["warnings"] == [
        "The answer may have 0.1 MB (MAX_RESPONSE_MB), so these are left out: a.caption, which no node has named "
        "(0.3 MB). A bucket (BUCKET_ENDPOINT_URL) gets all files"
    ]
    assert len(ask(graph)["files"]) == 2


def test_named_files_are_never_left_out(ask: Ask) -> None:
    graph = graphs.solid(0x31000B) | {"3": graphs.node("TestMakesNoise", width=300, height=300)}
    graph["2"]["inputs"]["images"] = ["3", 0]
    graph["4"] = graphs.node("TestSavesUnnamed", image=["1", 0], filename="x.txt", content="x")
    answer = ask(graph, limit_mb=0.1)
    assert answer["error_type"] == "answer_too_large"


def test_what_was_saved_by_a_job_that_is_stopped_arrives(ask: Ask) -> None:
    graph = image(0x31000C)
    graph["2"] = graphs.node("TestSavesUnnamed", image=["1", 0], filename="early.txt", content="x")
    graph["3"] = graphs.node("TestSleeps", image=["1", 0], steps=5000)
    graph["4"] = graphs.node("SaveImage", images=["3", 0], filename_prefix="late")
    answer = ask(graph, timeout_s=2)
    assert (answer["error_type"], named(answer["files"])) == ("timeout", [("2", "early.txt", None)])
