"""Long chains of nodes: they run, ComfyUI's cache works as before, and an interrupt is heeded before the first node."""

from __future__ import annotations

import asyncio
import importlib
import random
import time
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.events import Event, NodesCached, NodeStarted, PromptStarted


def chain(length: int, text: str = "a") -> graphs.Graph:
    """Nodes in a row, and one that shows what the last one gives."""
    graph = {"0": graphs.node("StringConcatenate", string_a=text, string_b="b", delimiter="")}
    for number in range(1, length):
        graph[str(number)] = graphs.node("StringTrim", string=[str(number - 1), 0], mode="Both")
    return graph | {"shows": graphs.node("PreviewAny", source=[str(length - 1), 0])}


def test_two_thousand_nodes_in_a_row_run(worker: Worker) -> None:
    begun = time.process_time()  # Other programs of a busy machine do not count.
    assert worker.run(chain(2000)).text == ["ab"]
    assert time.process_time() - begun < 30  # It took minutes; here it takes 4 to 8 s.


def test_a_chain_is_cached_as_before(worker: Worker) -> None:
    def ran(graph: graphs.Graph) -> set[str]:
        events: list[Event] = []
        assert worker.run(graph, on_event=events.append).ok
        return {event.node_id for event in events if isinstance(event, NodeStarted)}

    graph = chain(300, text="cached")
    assert len(ran(graph)) == 301
    assert ran(graph) <= {"shows"}  # An output node whose files or texts are wanted again.
    graph["250"]["inputs"]["mode"] = "Left"
    assert ran(graph) == {str(number) for number in range(250, 300)} | {"shows"}


def test_an_interrupt_is_heeded_before_the_first_node(worker: Worker) -> None:
    assert worker.runtime is not None
    prompts, events = worker.runtime.prompts, []

    def interrupt_at_start(event: Event) -> None:
        events.append(event)
        if isinstance(event, PromptStarted):
            prompts.interrupt()

    result = worker.run(chain(100, text="interrupted"), on_event=interrupt_at_start)
    assert result.status == "interrupted"
    assert not any(isinstance(event, NodeStarted | NodesCached) for event in events)
    assert worker.run(chain(100, text="interrupted")).text == ["interruptedb"]


class _Fingerprints:
    """ComfyUI's ``IsChangedCache`` for nodes that never change."""

    async def get(self, node_id: str) -> bool:
        return False


@pytest.mark.parametrize("seed", range(20))
def test_keys_are_equal_where_they_were(worker: Worker, seed: int) -> None:
    """Where two nodes with equal keys take the place of one, the old keys differed and the new ones do not."""
    graph_module = importlib.import_module("comfy_execution.graph")
    caching: Any = importlib.import_module("comfy_execution.caching")
    rng = random.Random(seed)
    graph: graphs.Graph = {}
    for number in range(60):
        inputs: dict[str, Any] = {"string": rng.choice(["a", "b", 1, 1.0, True, ["x", 2, "y"], {"k": None}])}
        for name in rng.sample(["p", "q"], rng.randint(0, 2) if graph else 0):
            inputs[name] = [rng.choice(list(graph)), rng.randint(0, 1)]
        graph[str(number)] = graphs.node(rng.choice(["StringTrim", "StringLength"]), **inputs)

    class Original(caching.CacheKeySetInputSignature):  # type: ignore[misc]
        async def get_node_signature(self, dynprompt: Any, node_id: str) -> Any:
            """As ComfyUI's, which the guard has replaced."""
            ancestors, order = self.get_ordered_ancestry(dynprompt, node_id)
            ids = [node_id, *ancestors]
            return caching.to_hashable([await self.get_immediate_node_signature(dynprompt, i, order) for i in ids])

    keys: list[dict[str, Any]] = []
    for kind in (Original, caching.CacheKeySetInputSignature):
        key_set = kind(graph_module.DynamicPrompt(graph), list(graph), _Fingerprints())
        asyncio.run(key_set.add_keys(list(graph)))
        keys.append(key_set.keys)
    old, new = keys
    equal = [(a, b) for a in graph for b in graph if a < b and old[a] == old[b]]
    assert equal
    assert all(new[a] == new[b] for a, b in equal)
    for a, b in ((a, b) for a in graph for b in graph if a < b and new[a] == new[b]):
        assert graph[a]["class_type"] == graph[b]["class_type"]
        links = [{n: (new[v[0]], v[1]) for n, v in graph[i]["inputs"].items() if n in "pq"} for i in (a, b)]
        assert links[0] == links[1]
