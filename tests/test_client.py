"""A job is a client of ComfyUI's server: it hears what is for it, one message after the other."""

from __future__ import annotations

import threading
import time
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.events import Event, Message


def said(events: list[Event]) -> list[Any]:
    return [event.data["of"] for event in events if isinstance(event, Message) and event.name == "test.talk"]


def misbehaves(deed: str, count: int, **then: Any) -> graphs.Graph:
    """A node that does ``deed``, and then one that takes a while."""
    graph = graphs.through("TestSleeps", **({"steps": 20} | then))
    graph["talk"] = graphs.node("TestMisbehaves", image=["1", 0], deed=deed, count=count)
    sleeps = next(node for node in graph.values() if node["class_type"] == "TestSleeps")
    sleeps["inputs"]["image"] = ["talk", 0]
    return graph


@pytest.mark.parametrize("deed", ["leaves_talker", "leaves_monitor"])
def test_what_a_thread_of_an_earlier_job_says_is_not_heard(worker: Worker, deed: str) -> None:
    own: list[Event] = []
    assert worker.run(misbehaves(deed, 2000), on_event=own.append).ok
    assert said(own), "the job itself hears it"
    others: list[Event] = []
    assert worker.run(graphs.through("TestSleeps", steps=50), on_event=others.append).ok
    assert any(thread.name.endswith("(talk)") for thread in threading.enumerate()), "it still talks"
    assert said(others) == []


def test_each_job_is_a_client_of_its_own(worker: Worker) -> None:
    heard: list[set[Any]] = []
    for _ in range(2):
        events: list[Event] = []
        worker.run(misbehaves("leaves_talker", 20), on_event=events.append)
        heard.append(set(said(events)))
    assert all(len(ids) == 1 for ids in heard)
    assert heard[0] != heard[1]
    server = worker.embedded_runtime().prompts._server
    assert not server.sockets_metadata, "none of them is left"


def test_a_listener_has_one_event_at_a_time(worker: Worker) -> None:
    """Ten threads talk while a node reports its steps."""
    lock, overlaps, threads = threading.Lock(), 0, set()

    def listen(event: Event) -> None:
        nonlocal overlaps
        threads.add(threading.current_thread())
        if not lock.acquire(blocking=False):
            overlaps += 1
            return
        time.sleep(0.0005)
        lock.release()

    graph = misbehaves("leaves_talker", 100, steps=30)
    for number in range(10):
        graph[f"more{number}"] = graphs.node("TestMisbehaves", image=["1", 0], deed="leaves_talker", count=100 + number)
        graph[f"show{number}"] = graphs.node("PreviewImage", images=[f"more{number}", 0])
    assert worker.run(graph, on_event=listen).ok
    assert len(threads) > 2
    assert overlaps == 0
