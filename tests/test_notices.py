"""What the editor adds to a graph, metadata of one job's files, and warnings that change nothing else."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from typing import Any

import graphs
import pytest
from PIL import Image

from worker import Worker
from worker.errors import InvalidJob
from worker.handler import make_handler
from worker.job.notices import unused_files
from worker.job.parse import parse_job

EDITOR = {"workflow": {"nodes": [{"id": 1, "title": "a lake"}], "links": []}, "more": [1, "é"]}


@pytest.fixture
def answer(worker: Worker) -> Callable[..., dict[str, Any]]:
    """Gives a job's input to the handler and returns the answer."""
    handle = make_handler(worker)
    return lambda **job_input: asyncio.run(handle({"id": "job-1", "input": job_input}))


def texts_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The metadata of the first picture of an answer."""
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]["data"]))) as picture:
        return {str(key): json.loads(text) for key, text in picture.info.items() if isinstance(text, str)}


def test_what_the_editor_adds_reaches_nodes_and_files(answer: Callable[..., dict[str, Any]]) -> None:
    graph = graphs.solid(0x010203)
    graph["3"] = graphs.node("TestShowsEditorData")
    given = answer(workflow=graph, extra_data={"extra_pnginfo": EDITOR, "other": 1}, save_metadata=True)
    assert texts_of(given) == {"prompt": graph, **EDITOR}
    assert json.loads(given["text"][0]["text"]) == EDITOR
    assert "warnings" not in given


def test_a_job_decides_whether_its_files_carry_the_graph(answer: Callable[..., dict[str, Any]]) -> None:
    graph = graphs.solid(0x010204)
    for save in (False, True, False, None, True):
        given = answer(workflow=graph, save_metadata=save, extra_data={"extra_pnginfo": {"number": 1}})
        assert bool(texts_of(given)) == bool(save)
    # The cache gives no file with another job's data.
    given = answer(workflow=graph, save_metadata=True, extra_data={"extra_pnginfo": {"number": 2}})
    assert texts_of(given)["number"] == 2


def test_a_job_decides_whether_its_files_carry_what_a_node_adds(answer: Callable[..., dict[str, Any]]) -> None:
    graph = graphs.solid(0x010205)
    graph["2"] = graphs.node("TestSavesExtraMetadata", images=["1", 0], author="me")
    for save in (False, True, False, None, True):
        assert texts_of(answer(workflow=graph, save_metadata=save)) == ({"author": "me"} if save else {})


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("save_metadata", "yes", "'save_metadata' must be true or false, not 'yes'"),
        ("extra_data", [], "'extra_data' must be an object, not a list"),
        ("extra_data", {"extra_pnginfo": "x"}, "'extra_data': 'extra_pnginfo' must be an object, not a string"),
        ("extra_data", {"extra_pnginfo": {"漢字": 1}}, "has the name '漢字': names have 1 to 79 Latin characters"),
        ("extra_data", {"extra_pnginfo": {"": 1}}, "has the name ''"),
        ("extra_data", {"extra_pnginfo": {"a\0b": 1}}, "has the name 'a\\x00b'"),
        (
            "extra_data",
            {"extra_pnginfo": {"x": object()}},
            "must hold what JSON can hold (Object of type object is not",
        ),
        ("extra_data", {"extra_pnginfo": {"x": "x" * 5_000_000}}, "'extra_pnginfo' has 5.0 MB, the limit is 5 MB"),
        ("extra_data", {"extra_pnginfo": {"x": json.loads("[" * 101 + "]" * 101)}}, "nested more than 100 levels deep"),
    ],
)
def test_what_cannot_be_taken_is_refused(field: str, value: object, text: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        parse_job({"input": {"workflow": graphs.solid(), field: value}})
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("image", "images"), ("outputFormat", "output_format"), ("output-quality", "output_quality"),
        ("timeout", "timeout_s"), ("save_meta_data", "save_metadata"), ("ExtraData", "extra_data"),
        ("extra_pnginfo", "extra_data"),
    ],
)  # fmt: skip
def test_a_misspelt_field_is_noticed(answer: Callable[..., dict[str, Any]], field: str, meant: str) -> None:
    line = f"'{field}' is no field of a request, and was ignored: is '{meant}' meant?"
    assert answer(workflow=graphs.solid(), **{field: 1})["warnings"] == [line]
    failed = answer(workflow={"1": graphs.node("Nope")}, **{field: 1})
    assert (failed["error_type"], failed["warnings"]) == ("workflow_validation", [line])


@pytest.mark.parametrize("field", ["extra_png_info", "extraPnginfo", "workflow"])
def test_a_misspelt_part_of_extra_data_is_noticed(field: str) -> None:
    line = f"'{field}' is no field of a request, and was ignored: is 'extra_pnginfo' meant?"
    assert parse_job({"input": {"workflow": graphs.solid(), "extra_data": {field: {}}}}).warnings == (line,)
    known = {"extra_pnginfo": {}, "client_id": "7", "api_key_comfy_org": "x"}
    assert parse_job({"input": {"workflow": graphs.solid(), "extra_data": known}}).warnings == ()


@pytest.mark.parametrize("name", ["photo.png", "image.png", "a.png", "1.png"])
def test_a_word_of_a_prompt_or_the_end_of_a_name_names_no_file(name: str) -> None:
    def lines(text: str) -> list[str]:
        graph = {"1": graphs.node("TestShowsText", text=text, image="banana.png")}
        images = [{"name": name, "image": ""}]
        return list(unused_files(parse_job({"input": {"workflow": graph, "images": images}})))

    assert lines("a photo of an image, 1 banana") == [f"The input file '{name}' is named by no node of the workflow"]
    for text in (name, f"sub/{name}", name.removesuffix(".png"), f"banana.png,{name}", f"{name} [input]"):
        assert not lines(text)


def test_other_fields_are_ignored_in_silence(answer: Callable[..., dict[str, Any]]) -> None:
    given = answer(workflow=graphs.solid(), client_id="7", prompt="a lake", webhook="x", **{"é\ud800": 1})
    assert "warnings" not in given


def test_an_input_file_that_nothing_names_is_noticed(
    answer: Callable[..., dict[str, Any]], png: Callable[..., bytes]
) -> None:
    data = base64.b64encode(png()).decode()
    images = [{"name": name, "image": data} for name in ("a.png", "b.png", "sub/c.png", "e\u0301.png")]
    graph = {
        **graphs.load("a.png [input]"),
        "3": graphs.node("LoadImage", image="é.png"),
        "4": graphs.node("PreviewImage", images=["3", 0]),
    }
    lines = [f"The input file '{name}' is named by no node of the workflow" for name in ("b.png", "sub/c.png")]
    given = answer(workflow=graph, images=images)
    assert given["warnings"] == lines
    assert given["images"]
    failed = answer(workflow=graphs.load("A.png"), images=images[:1])
    assert failed["warnings"] == ["The input file 'a.png' is named by no node of the workflow"]
    folder = {**graphs.solid(), "3": graphs.node("TestShowsText", text="sub")}
    assert "warnings" not in answer(workflow=folder, images=images[2:3])


@pytest.mark.backends("websocket")
def test_a_server_elsewhere_decides_about_metadata(answer: Callable[..., dict[str, Any]]) -> None:
    given = answer(workflow=graphs.solid(), save_metadata=True)
    assert given["warnings"] == ["'save_metadata' has no effect: the ComfyUI server that this worker uses decides it"]
