"""What nodes tell ComfyUI's page arrives: texts and numbers under any key, whole ui dicts on request, or a warning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.answer.reply import Answer
from worker.handler import JobHandler

Ask = Callable[..., Answer]
pytestmark = pytest.mark.backends("embedded", "websocket")
EMPTY = {"status": "success_no_images", "images": []}


@pytest.fixture
def ask(worker: Worker) -> Ask:
    def run(graph: dict[str, Any], limit_mb: float | None = None, **more: Any) -> Answer:
        raw = {"id": "job", "input": {"workflow": json.loads(json.dumps(graph)), **more}}
        return asyncio.run(JobHandler(worker).answer(raw, limit_mb=limit_mb))

    return run


def shows(**ui: Any) -> dict[str, Any]:
    return {"3": graphs.node("TestShows", ui=repr(ui))}


@pytest.mark.parametrize(
    ("key", "values", "texts"),
    [
        ("value", [4.5], ["4.5"]),  # Custom-Scripts' math nodes.
        ("openpose_json", ['[{"people": []}]'], ['[{"people": []}]']),  # OpenPose and DWPose of controlnet_aux.
        ("tags", ["1girl, lake"], ["1girl, lake"]),  # WD14 Tagger.
        ("message", ["done"], ["done"]),  # Custom-Scripts' notification.
        ("count", (3, 0, -1), ["3", "0", "-1"]),
        ("mixed", [None, True, {"a": 1}, "seen", ["x"]], ["seen"]),
    ],
)
def test_texts_and_numbers_arrive_with_their_key(ask: Ask, key: str, values: Any, texts: list[str]) -> None:
    for _ in range(2):
        entries = [{"node_id": "3", "text": text, "key": key} for text in texts]
        assert ask(shows(**{key: values})) == EMPTY | {"text": entries}


def test_texts_under_text_are_as_ever(ask: Ask) -> None:
    texts = [{"node_id": "3", "text": "a"}, {"node_id": "3", "text": "5"}, {"node_id": "3", "text": "True"}]
    assert ask(shows(text=["a", 5, True], animated=[True])) == EMPTY | {"text": texts}


def test_texts_under_other_keys_show_no_folder_of_the_machine(ask: Ask, worker: Worker) -> None:
    (entry,) = ask(shows(path=[f"{worker.state.root}/output/x.png"]))["text"]
    assert entry == {"node_id": "3", "text": "output/x.png", "key": "path"}


def test_texts_under_other_keys_are_left_out_where_the_answer_would_not_fit(ask: Ask) -> None:
    answer = ask(graphs.solid(0x320001) | shows(text=["short"], b64=["x" * 90_000], tags=["t"]), limit_mb=0.05)
    assert [entry["text"] for entry in answer["text"]] == ["short", "t"]
    assert answer["warnings"] == [
        "The answer may have 0.05 MB (MAX_RESPONSE_MB), so these are left out: b64 of node 3 (0.1 MB). A bucket "
        "(BUCKET_ENDPOINT_URL) gets all files"
    ]
    assert len(answer["images"]) == 1


def test_ui_has_what_history_has(ask: Ask) -> None:
    items = [{"input": "x", "text": ["Tensor"]}]
    graph = graphs.solid(0x320002) | shows(items=items, on=[False], text=["t"])
    answer = ask(graph, ui=True)
    for _ in range(2):
        (entry,) = answer["images"]
        image = {"filename": entry["filename"], "subfolder": "", "type": "output"}
        assert answer["ui"] == {"2": {"images": [image]}, "3": {"items": items, "on": [False], "text": ["t"]}}
        assert answer["text"] == [{"node_id": "3", "text": "t"}]
        assert "warnings" not in answer
        answer = ask(graph, ui=True)
    assert "ui" not in ask(graph)
    assert "ui" not in ask(graph, ui=False)


def test_the_operator_can_ask_for_ui(ask: Ask, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "settings", worker.settings.model_copy(update={"report_ui": True}))
    assert ask(shows(on=[True]))["ui"] == {"3": {"on": [True]}}
    assert "ui" not in ask(shows(on=[True]), ui=False)


def test_ui_shows_no_folder_of_the_machine(ask: Ask, worker: Worker) -> None:
    state = str(worker.state.root)
    assert ask(shows(at=[{state + "/output/a": state + "/output/x.png"}]), ui=True)["ui"] == {
        "3": {"at": [{"output/a": "output/x.png"}]}
    }


def test_ui_has_a_size(ask: Ask) -> None:
    graph = shows(big=[["x" * 6_000_000]]) | {"4": graphs.node("TestShows", ui="{'on': [True]}")}
    answer = ask(graph, ui=True)
    assert answer["ui"] == {"4": {"on": [True]}}
    assert answer["warnings"] == [
        "All ui dicts together may have 5 MB, so these are left out: the ui dict of node 3 (6.0 MB)"
    ]
    small = ask(shows(big=[["x" * 90_000]]) | graphs.solid(0x320003), ui=True, limit_mb=0.05)
    assert "3" not in small["ui"]
    assert small["warnings"][0].startswith("The answer may have 0.05 MB (MAX_RESPONSE_MB), so these are left out: the")


@pytest.mark.parametrize("given", [1, "yes", []])
def test_ui_is_true_or_false(ask: Ask, given: object) -> None:
    assert ask(shows(), ui=given)["error"].startswith("'ui' must be true or false, not ")


def test_other_short_fields_are_no_mistake(ask: Ask) -> None:
    graph = graphs.solid(0x320004)
    assert "warnings" not in ask(graph, uid="x", uri="y")
    assert ask(graph, UI=True)["warnings"] == ["'UI' is no field of a request, and was ignored: is 'ui' meant?"]


@pytest.mark.parametrize("ui", [{}, {"a": []}, {"images": []}])
def test_a_node_that_gives_nothing_is_named(ask: Ask, ui: dict[str, Any]) -> None:
    for _ in range(2):
        assert ask(shows(**ui))["warnings"] == ["Node 3 (TestShows) named no file and showed nothing"]


def test_a_node_that_shows_what_has_no_form_is_named(ask: Ask) -> None:
    for _ in range(2):
        assert ask(shows(items=[{"input": "x"}], on=[True], none=[]))["warnings"] == [
            "Node 3 (TestShows) showed what is neither a file nor a text ('items', 'on'): 'ui': true in the request "
            "adds it"
        ]


def test_previews_are_no_notice(ask: Ask) -> None:
    graph = graphs.solid(0x320005) | {"3": graphs.node("PreviewImage", images=["1", 0])}
    for _ in range(2):
        assert set(ask(graph)) == {"images"}


def test_what_has_its_line_already_gets_no_second_one(ask: Ask) -> None:
    graph = graphs.solid(0x320006) | {
        "3": graphs.node("TestBlocks", image=["1", 0]),
        "4": graphs.node("SaveImage", images=["3", 0], filename_prefix="blocked"),
        "5": graphs.node("SaveImage", images=["1", 0]),
        "6": graphs.node("TestShows", ui="{'files': [{'filename': 'none.txt'}]}"),
    }
    answer = ask(graph)
    assert "warnings" not in answer
    assert len(answer["errors"]) == 3


def test_a_job_that_failed_names_no_silent_node(ask: Ask) -> None:
    graph = graphs.through("TestRaises", color=0x320007) | {"9": graphs.node("TestShows", ui="{}")}
    assert "warnings" not in ask(graph)


@pytest.mark.backends("embedded")  # A ComfyUI server does not tell it, and has nothing else that would.
def test_what_a_node_on_the_way_showed_arrives_from_the_cache(ask: Ask) -> None:
    graph = {"1": graphs.node("TestShowsInPassing", text="seen"), "2": graphs.node("TestShowsText", text=["1", 0])}
    first, again = ask(graph), ask(graph)
    assert again == first
    other = ask(graph | {"2": graphs.node("PreviewAny", source=["1", 0])})
    for answer in (again, other):
        assert {"node_id": "1", "text": "seen"} in answer["text"]
        assert [file["filename"] for file in answer["files"]] == ["passing.txt"]
    unneeded = ask({"1": graph["1"], "2": graphs.node("TestShowsText", text="alone")})
    assert unneeded["text"] == [{"node_id": "2", "text": "alone"}]
