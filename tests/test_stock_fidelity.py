"""A node pack finds in this process what it finds on a stock ComfyUI server."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.errors import WorkflowRejected
from worker.events import Event, Message, NodeStarted, PromptEnded


@pytest.fixture(scope="module")
def pack(worker: Worker) -> ModuleType:
    """The test pack's module of stock behaviours, as ComfyUI imported it."""
    assert worker.runtime is not None
    return next(module for name, module in sys.modules.items() if name.endswith("test_nodes.stock"))


@pytest.fixture(scope="module")
def server(pack: ModuleType) -> Any:
    """ComfyUI's ``PromptServer.instance``."""
    return pack.PromptServer.instance


def test_the_server_at_import_is_the_server_that_runs(pack: ModuleType, server: Any) -> None:
    assert pack.SERVER_AT_IMPORT is server
    assert pack.LOOP_AT_IMPORT is server.loop
    assert server.loop.is_running()
    assert pack.MAIN_THREAD_AT_IMPORT
    assert "custom_nodes_from_web" in server.supports


def test_routes_and_web_directories_are_there(server: Any) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    async def ask() -> tuple[Any, Any, str]:
        async with TestClient(TestServer(server.app)) as client:
            own = await (await client.get("/test_nodes/hello")).json()
            prefixed = await (await client.get("/api/test_nodes/hello")).json()
            script = await (await client.get("/extensions/test_nodes/extension.js")).text()
            return own, prefixed, script

    # The worker asks the application on this loop, too, and an application has one.
    own, prefixed, script = asyncio.run_coroutine_threadsafe(ask(), server.loop).result(30)
    assert own == prefixed == {"hello": "from the pack"}
    assert "served by the pack" in script


def test_an_on_prompt_handler_writes_into_the_graph(worker: Worker) -> None:
    graph = {"1": graphs.node("TestPopulated", text="")}
    assert worker.run(graph).text == ["populated by the handler"]
    assert graph["1"]["inputs"]["text"] == ""


def test_without_handlers_the_route_needs_no_other_thread(
    worker: Worker, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "on_prompt_handlers", [])
    assert worker.run({"1": graphs.node("TestPopulated", text="as it came")}).text == ["as it came"]
    with pytest.raises(WorkflowRejected, match="SystemExit"):
        worker.run({"1": graphs.node("TestValidationExits", value=4)})
    with pytest.raises(WorkflowRejected, match="cannot validate"):
        worker.run({"12": graphs.node("TestValidationRaises", value=3)})
    assert worker.run(graphs.solid(0x515253)).ok


def test_a_node_schedules_on_the_loop_and_sends_messages(worker: Worker) -> None:
    events: list[Event] = []
    result = worker.run({"7": graphs.node("TestUsesLoop", text="ran")}, on_event=events.append)
    assert result.text == ["ran on the loop"]
    messages = {event.name: event.data for event in events if isinstance(event, Message)}
    assert messages["test_nodes.said"] == {"said": "ran on the loop"}
    assert messages["TEXT"].endswith(b"7almost")


def test_a_patched_sampler_is_the_one_that_runs(worker: Worker, pack: ModuleType, tiny_checkpoint: Path) -> None:
    before = len(pack.SAMPLER_CALLS)
    assert worker.run(graphs.text_to_image(seed=time.time_ns() % 2**32, steps=1)).ok
    assert len(pack.SAMPLER_CALLS) == before + 1


def test_a_subclass_of_saveimage_saves_with_the_job(worker: Worker) -> None:
    for color in (0x0000FF, 0x00FF00):
        graph = {
            "1": graphs.node("EmptyImage", width=8, height=8, batch_size=1, color=color),
            "2": graphs.node("TestSavesSomewhereElse", images=["1", 0], filename_prefix="own"),
        }
        result = worker.run(graph)
        assert [artifact.filename for artifact in result.artifacts] == ["own_sub_00001_.png"]
        assert result.images[0].getpixel((0, 0)) == ((color >> 16) & 255, (color >> 8) & 255, color & 255)


def test_a_node_that_queues_itself_again_stays_in_its_job(worker: Worker, server: Any) -> None:
    events: list[Event] = []
    result = worker.run({"1": graphs.node("TestQueuesAgain", times=3)}, on_event=events.append)
    assert result.text == ["ran 3 times"]
    assert len([event for event in events if isinstance(event, PromptEnded)]) == 3
    assert server.prompt_queue.get_tasks_remaining() == 0
    assert server.prompt_queue.get_history() == {}
    assert worker.run({"1": graphs.node("TestShowsText", text="next")}).text == ["next"]


def test_a_validation_that_raises_is_an_error_of_that_node(worker: Worker) -> None:
    with pytest.raises(WorkflowRejected) as caught:
        worker.run({"12": graphs.node("TestValidationRaises", value=3)})
    text = str(caught.value)
    assert text.startswith("Workflow validation failed:\n• Node 12 (TestValidationRaises)")
    assert "cannot validate 3 in place" in text
    assert "/root" not in text


def test_a_task_that_a_prompt_leaves_behind_ends_with_it(worker: Worker, pack: ModuleType) -> None:
    assert worker.run(graphs.through("TestLeavesTaskRunning", color=77)).ok
    time.sleep(0.3)
    worker.run(graphs.solid())
    assert not pack.LeavesTaskRunning.finished


def test_a_node_becomes_a_graph(worker: Worker) -> None:
    events: list[Event] = []
    graph = graphs.through("TestExpands", color=0x445566)
    first = worker.run(graph, on_event=events.append)
    assert sorted((a.node_id, a.filename) for a in first.artifacts) == [
        ("2", "ComfyUI_00001_.png"),
        ("3", "inside_00001_.png"),
    ]
    started = [event for event in events if isinstance(event, NodeStarted) and event.node_id != event.display_node_id]
    assert {event.display_node_id for event in started} == {"3"}
    events.clear()
    second = worker.run(graph, on_event=events.append)
    assert sorted(a.filename for a in second.artifacts) == sorted(a.filename for a in first.artifacts)
    ran = [event.node_id for event in events if isinstance(event, NodeStarted)]
    assert not [node_id for node_id in ran if node_id.endswith("TestCountsRuns")], ran


def test_hidden_inputs_are_filled(worker: Worker) -> None:
    graph = {"1": graphs.node("TestShowsText", text="{key}")}
    assert worker.run({"workflow": graph, "comfy_org_api_key": "sk-a"}).text == ["sk-a"]
    assert worker.run({"workflow": graph, "comfy_org_api_key": "sk-b"}).text == ["sk-b"]
    assert worker.run(graph).text == ["None"]
    json.dumps(graph)
