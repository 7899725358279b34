"""The handler: a job dict in, the contract's answer out, for every kind of outcome."""

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
from worker.handler import Handler, make_handler

pytestmark = pytest.mark.backends("embedded", "websocket")


@pytest.fixture
def answer(worker: Worker) -> Callable[[object], dict[str, Any]]:
    """Gives a job's input to the handler and returns the answer, which is always plain JSON."""
    handle: Handler = make_handler(worker)

    def ask(job_input: object) -> dict[str, Any]:
        given = asyncio.run(handle({"id": "job-1", "input": job_input}))
        assert json.loads(json.dumps(given, allow_nan=False)) == given
        return given

    return ask


def test_images_come_inline(answer: Callable[[object], dict[str, Any]], worker: Worker) -> None:
    given = answer({"workflow": graphs.solid(0xABCDEF, batch=2)})
    assert set(given) == {"images"}
    assert [(i["type"], i["node_id"], i["media_type"]) for i in given["images"]] == [("base64", "2", "image/png")] * 2
    first, second = (int(i["filename"].removeprefix("ComfyUI_").removesuffix("_.png")) for i in given["images"])
    assert second == first + 1
    assert first == 1 or worker.runtime is None, "a server goes on counting"
    image = Image.open(io.BytesIO(base64.b64decode(given["images"][0]["data"], validate=True)))
    assert image.getpixel((0, 0)) == (0xAB, 0xCD, 0xEF)
    assert not image.info, "a file tells nothing of how it was made"


def test_images_are_in_the_order_of_the_workflow(answer: Callable[[object], dict[str, Any]]) -> None:
    graph = graphs.solid()
    for node_id in ("20", "3", "100", "a"):
        graph[node_id] = graphs.node("SaveImage", images=["1", 0], filename_prefix=f"n{node_id}")
    assert [i["node_id"] for i in answer({"workflow": graph})["images"]] == ["2", "20", "3", "100", "a"]


def test_previews_are_left_out(answer: Callable[[object], dict[str, Any]]) -> None:
    graph = graphs.solid() | {"3": graphs.node("PreviewImage", images=["1", 0])}
    assert [i["node_id"] for i in answer({"workflow": graph})["images"]] == ["2"]
    graph.pop("2")
    assert answer({"workflow": graph}) == {"status": "success_no_images", "images": []}


def test_other_files_and_texts(answer: Callable[[object], dict[str, Any]]) -> None:
    given = answer(
        {
            "workflow": {
                "1": graphs.node("TestSavesFile", key="gifs", subfolder="v", filename="a.mp4", content="movie"),
                "2": graphs.node("TestShowsText", text="hello"),
            }
        }
    )
    data = base64.b64encode(b"movie").decode()
    entry = {"filename": "a.mp4", "type": "base64", "data": data, "node_id": "1", "media_type": "video/mp4"}
    assert given == {
        "status": "success_no_images",
        "images": [],
        "files": [{**entry, "subfolder": "v"}],
        "text": [{"node_id": "2", "text": "hello"}],
    }


def test_node_ids_that_are_no_text_can_be_sent(answer: Callable[[object], dict[str, Any]]) -> None:
    graph = {"\ud800": graphs.node("TestShowsText", text="x"), "1": graphs.solid()["1"]}
    graph["\ud801"] = graphs.node("SaveImage", images=["1", 0], filename_prefix="x")
    graph["\ud802"] = graphs.node("SaveImage", filename_prefix="x")
    given = answer({"workflow": graph})
    json.dumps(given, ensure_ascii=False).encode()
    assert [entry["node_id"] for entry in (*given["text"], *given["images"])] == ["\\ud800", "\\ud801"]
    assert "Node \\ud802 (SaveImage)" in given["errors"][0]


def test_a_text_names_no_folder_of_the_machine(answer: Callable[[object], dict[str, Any]], worker: Worker) -> None:
    if worker.runtime is None:
        pytest.skip("the folders of a server elsewhere are not known")
    text = f"<{worker.runtime.source.path}/comfy_extras/nodes_void.VOID at 0x1> {worker.runtime.source.base}/x /etc/x"
    # The request does not have the folders whole: a node makes them.
    halves = {"string_a": text.replace("/", "/|"), "string_b": "", "delimiter": ""}
    graph = {
        "1": graphs.node("StringConcatenate", **halves),
        "2": graphs.node("StringReplace", string=["1", 0], find="|", replace=""),
        "3": graphs.node("PreviewAny", source=["2", 0]),
    }
    assert answer({"workflow": graph})["text"] == [
        {"node_id": "3", "text": "<comfy_extras/nodes_void.VOID at 0x1> x /etc/x"}
    ]


def test_a_folder_that_the_caller_has_written_stays(answer: Callable[[object], dict[str, Any]], worker: Worker) -> None:
    if worker.runtime is None:
        pytest.skip("the folders of a server elsewhere are not known")
    text = f"see {worker.runtime.source.base}/models/checkpoints/a.safetensors"
    given = answer({"workflow": {"1": graphs.node("TestShowsText", text=text)}})
    assert given["text"] == [{"node_id": "1", "text": text}]


def test_an_input_picture_goes_through(answer: Callable[[object], dict[str, Any]], png: Callable[..., bytes]) -> None:
    image = "data:image/png;base64," + base64.b64encode(png("#102030")).decode()
    given = answer({"workflow": graphs.load("in.png"), "images": [{"name": "in.png", "image": image}]})
    out = Image.open(io.BytesIO(base64.b64decode(given["images"][0]["data"])))
    assert out.getpixel((0, 0)) == (16, 32, 48)


@pytest.mark.parametrize(
    ("job_input", "error", "error_type"),
    [
        (None, "Please provide input", "invalid_input"),
        ("{", "Invalid JSON format in input", "invalid_input"),
        ({}, "Missing 'workflow' parameter", "invalid_input"),
        (
            {"workflow": {"1": graphs.node("Nope")}},
            "Workflow validation failed:\n• Node 1 (Nope): this node class is not installed",
            "workflow_validation",
        ),
    ],
)
def test_refusals(answer: Callable[[object], dict[str, Any]], job_input: object, error: str, error_type: str) -> None:
    assert answer(job_input) == {"error": error, "error_type": error_type}


def test_images_that_cannot_be_staged(answer: Callable[[object], dict[str, Any]]) -> None:
    given = answer({"workflow": graphs.load("a.png"), "images": [{"name": "a.png", "image": "%"}]})
    assert given["error"] == "Failed to upload one or more input images"
    assert given["error_type"] == "invalid_image"
    assert [line.partition(": ")[0] for line in given["details"]] == ["Error decoding base64 for a.png"]


def test_a_failed_workflow(answer: Callable[[object], dict[str, Any]]) -> None:
    assert answer({"workflow": graphs.through("TestRaises"), "comfy_org_api_key": "sk-1"}) == {
        "error": "Job processing failed",
        "details": [
            "Workflow execution error: Node Type: TestRaises, Node ID: 3, Message: cannot read secret.bin with ********"
        ],
        "error_type": "workflow_execution",
    }


def test_images_and_errors_together(answer: Callable[[object], dict[str, Any]]) -> None:
    graph = graphs.solid() | {"7": graphs.node("SaveImage", filename_prefix="lost")}
    given = answer({"workflow": graph})
    assert [i["node_id"] for i in given["images"]] == ["2"]
    assert given["errors"] == [
        "Output dropped by validation: Node 7 (SaveImage) images: this input is required and missing"
    ]


@pytest.mark.parametrize("raw", [None, 1, "x", {}, {"id": 5}, {"input": []}])
def test_what_is_no_job_at_all(worker: Worker, raw: object) -> None:
    assert asyncio.run(make_handler(worker)(raw))["error_type"] == "invalid_input"


def test_what_nobody_foresaw(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("at /root/secret")

    monkeypatch.setattr("worker.handler.make_answer", broken)
    given = asyncio.run(make_handler(worker)({"input": {"workflow": graphs.solid()}}))
    assert given == {"error": "Internal error: RuntimeError", "error_type": "internal"}


@pytest.mark.parametrize("graph", [graphs.solid(), {"1": graphs.node("TestShowsText", text="x" * 3000)}])
def test_the_largest_answer_holds_for_every_caller(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, graph: graphs.Graph
) -> None:
    changed = worker.settings.model_copy(update={"max_response_mb": 0.0003})
    monkeypatch.setattr(worker, "settings", changed)
    given = asyncio.run(make_handler(worker)({"input": {"workflow": graph, "output_fromat": "png"}}))
    assert given["error_type"] == "answer_too_large"
    assert "may have 0.0003 MB (MAX_RESPONSE_MB)" in given["error"]
    assert len(given["warnings"]) == 1
