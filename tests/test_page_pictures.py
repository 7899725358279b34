"""Pictures that nodes send to ComfyUI's page arrive as ``images``, as a client of a stock server gets them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any

import graphs
import pytest
import websocket
from comfy_server import ComfyServer
from PIL import Image

from worker import Worker
from worker.answer.reply import Answer
from worker.handler import JobHandler

Ask = Callable[..., Answer]
Graph = dict[str, Any]
both = pytest.mark.backends("embedded", "websocket")


@pytest.fixture
def ask(worker: Worker) -> Ask:
    def run(graph: Graph, **more: Any) -> Answer:
        raw = {"id": "job", "input": {"workflow": json.loads(json.dumps(graph)), **more}}
        return asyncio.run(JobHandler(worker).answer(raw))

    return run


def sends(color: int, class_type: str = "TestSendsPictures", count: int = 2, **inputs: Any) -> Graph:
    """Node 1: images; node 3: sends them."""
    graph = {"1": graphs.node("EmptyImage", width=40, height=30, batch_size=count, color=color)}
    return graph | {"3": graphs.node(class_type, images=["1", 0], **inputs)}


def pictures(answer: Answer) -> list[bytes]:
    return [base64.b64decode(entry["data"]) for entry in answer["images"]]


def names(answer: Answer) -> list[tuple[str, str, str]]:
    return [(entry["node_id"], entry["filename"], entry["media_type"]) for entry in answer["images"]]


def frames_of_stock_client(server: ComfyServer, graph: Graph) -> list[bytes]:
    """The pictures that a plain client of the stock server gets, as ComfyUI's own example takes them."""
    client_id, found = uuid.uuid4().hex, []
    socket = websocket.create_connection(f"ws://{server.host}/ws?clientId={client_id}", timeout=30)
    try:
        body = json.dumps({"prompt": graph, "client_id": client_id}).encode()
        urllib.request.urlopen(urllib.request.Request(f"http://{server.host}/prompt", body)).read()
        while True:
            frame = socket.recv()
            if isinstance(frame, bytes):
                found.append(frame[8:])
            elif (message := json.loads(frame))["type"] == "executing" and message["data"]["node"] is None:
                return found
    finally:
        socket.close()


@both
def test_they_are_what_a_client_of_a_stock_server_gets(ask: Ask, comfy_server: ComfyServer) -> None:
    graph = sends(0x330001, "SaveImageWebsocket")  # It is never served from the cache.
    for _ in range(2):
        answer = ask(graph)
        assert names(answer) == [("3", f"SaveImageWebsocket_0000{number}_.png", "image/png") for number in (1, 2)]
        assert pictures(answer) == frames_of_stock_client(comfy_server, graph)
        assert set(answer) == {"images"}


@both
@pytest.mark.parametrize(("form", "suffix", "kind"), [("PNG", ".png", "image/png"), ("JPEG", ".jpg", "image/jpeg")])
def test_pictures_that_a_node_names_arrive(ask: Ask, form: str, suffix: str, kind: str) -> None:
    color = uuid.uuid4().int % 0xFFFFFF  # Since a server sends nothing for a node that it has in its cache.
    answer = ask(sends(color, form=form))
    assert names(answer) == [("3", f"TestSendsPictures_0000{number}_{suffix}", kind) for number in (1, 2)]
    for content in pictures(answer):
        with Image.open(io.BytesIO(content)) as image:
            assert (image.format, image.size) == (form, (40, 30))
    assert set(answer) == {"images"}


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_their_bytes_are_the_server_s(ask: Ask, comfy_server: ComfyServer, form: str) -> None:
    """The server has a cache of its own, so both run this once."""
    graph = sends(uuid.uuid4().int % 0xFFFFFF, form=form)
    assert pictures(ask(graph)) == frames_of_stock_client(comfy_server, graph)


def test_an_equal_job_gets_them_from_the_cache(ask: Ask) -> None:
    runs = sys.modules["nodes"].NODE_CLASS_MAPPINGS["TestSendsPictures"].runs
    before, graph = len(runs), sends(0x330002, form="PNG")
    first = ask(graph)
    for _ in range(2):
        assert ask(graph) == first
    assert len(runs) == before + 1
    other = ask(graph | {"9": graphs.node("TestShows", ui="{'text': ['more']}")})
    assert pictures(other) == pictures(first)


@both
def test_they_stand_in_the_order_of_the_nodes(ask: Ask, worker: Worker) -> None:
    graph = sends(0x330003, "SaveImageWebsocket", count=1)
    graph["2"] = graphs.node("SaveImage", images=["1", 0], filename_prefix="a")
    graph["4"] = graphs.node("SaveImage", images=["1", 0], filename_prefix="b")
    ordered = {node_id: graph[node_id] for node_id in ("1", "2", "3", "4")}
    assert [entry["node_id"] for entry in ask(ordered)["images"]] == ["2", "3", "4"]


@both
def test_pictures_of_a_route_arrive(ask: Ask) -> None:
    graph = sends(0x330004, "TestCachesPictures")
    for _ in range(2):
        answer = ask(graph)
        assert [name[:2] for name in names(answer)] == [
            ("3", "TestCachesPictures_00001_.png"), ("3", "TestCachesPictures_00002_.png"),
        ]  # fmt: skip
        with Image.open(io.BytesIO(pictures(answer)[1])) as image:
            assert image.convert("RGB").getpixel((0, 0)) == (0x33, 0, 4)
        assert "warnings" not in answer


def test_an_equal_job_gets_a_picture_of_a_route_that_has_it_no_more(ask: Ask) -> None:
    graph = sends(0x330005, "TestCachesPictures")
    first = ask(graph)
    sys.modules["nodes"].NODE_CLASS_MAPPINGS["TestCachesPictures"].images.clear()
    assert ask(graph) == first


@both
@pytest.mark.parametrize("source", ["websocket", "http"])
def test_a_picture_that_does_not_come_is_told(ask: Ask, source: str) -> None:
    for _ in range(2):
        answer = ask({"3": graphs.node("TestClaimsPictures", entry=source)})
        assert answer["status"] == "success_no_images"
        (line,) = answer["warnings"]
        assert line.startswith("Node 3 named ")
        assert "did not come" in line


@both
def test_previews_are_no_pictures(ask: Ask) -> None:
    """Also those of an output node, which saves its result."""
    answer = ask(sends(0x330006, "TestPreviewsAndSaves", count=1))
    assert [entry["filename"][:8] for entry in answer["images"]] == ["sampled_"]
    assert "files" not in answer


@both
def test_ui_has_them_as_the_node_named_them(ask: Ask) -> None:
    answer = ask(sends(uuid.uuid4().int % 0xFFFFFF, count=1, form="PNG"), ui=True)
    entry = {"source": "websocket", "content-type": "image/png", "type": "output"}
    assert answer["ui"] == {"3": {"images": [entry]}}
    assert len(answer["images"]) == 1


def test_they_are_converted_as_others(ask: Ask) -> None:
    answer = ask(sends(0x330007, "SaveImageWebsocket", count=1), output_format="webp")
    assert names(answer) == [("3", "SaveImageWebsocket_00001_.webp", "image/webp")]


def test_only_routes_of_the_node_s_own_pack_are_asked(worker: Worker) -> None:
    assert worker.runtime is not None
    routes = worker.runtime.files.routes
    own, core = (sys.modules["nodes"].NODE_CLASS_MAPPINGS[name] for name in ("TestCachesPictures", "SaveImage"))
    own.images["x"] = b"content"
    assert routes.get(own, {"id": "x"}) == routes.get(own, {"url": "/etn/image/x"}) == b"content"
    for node_class, entry in (
        (own, {"url": "/system_stats"}), (own, {"url": "http://example.com/etn/image/x"}), (own, {"name": "x"}),
        (own, {"id": "y"}), (own, {"id": "../../system_stats"}), (own, {"url": "/etn/image/x\r\nX: y"}),
        (core, {"url": "/system_stats"}), (core, {"id": "x"}), (None, {"id": "x"}),
    ):  # fmt: skip
        with pytest.raises(Exception, match="route"):
            routes.get(node_class, entry)
