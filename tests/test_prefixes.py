"""``filename_prefix`` is expanded as ComfyUI's editor does it before it sends a graph."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import datetime
from typing import Any

import graphs
import pytest

from worker import Worker
from worker.handler import make_handler
from worker.job.prefixes import expand_prefixes

NOW = datetime(2026, 3, 5, 7, 8, 9)  # noqa: DTZ001 - the zone does not matter.


def graph(prefix: Any) -> dict[str, Any]:
    """Some nodes, and a SaveImage with this prefix."""
    return {
        "3": graphs.node("KSampler", seed=42, cfg=7.0, denoise=0.55, eta=0.00001, tiny=1.5e-9, on=True, none=None,
                         model=["4", 0], steps=["9", 0], many=[1, 2]) | {"_meta": {"title": "First pass"}},
        "4": graphs.node("CheckpointLoaderSimple", ckpt_name="SD1.5\\a:b/model.safetensors"),
        "5": graphs.node("KSampler", seed=43) | {"_meta": {"title": "Second pass"}},
        "6": graphs.node("Note", text="x" * 5000) | {"_meta": {"title": "KSampler"}},
        "8": graphs.node("SaveImage", images=["3", 0], filename_prefix=prefix),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("prefix", "expanded"),
    [
        ("ComfyUI", "ComfyUI"),
        ("%date:yyyy-MM-dd%/a", "2026-03-05/a"),
        ("%date:yy.M%", "%date:yy.M%"),  # One point, so it is looked for as a node.
        ("%date:yyyy.MM.dd%", "2026"),
        ("%date:d-M h.m.s yyy y%", "5-3 7"),
        ("%date:hh:mm:ss%_%date:hhmmss%_%date:d_M_h_m_s_yy_yyy%", "07:08:09_070809_5_3_7_8_9_26_yyy"),
        ("%date:%|%date%|%%|%", "|%date%|%%|%"),
        ("%KSampler.seed%", "42"),
        ("%Second pass.seed%_%First pass.cfg%", "43_7"),
        ("%KSampler.denoise%|%KSampler.eta%|%KSampler.tiny%", "0.55|0.00001|1.5e-9"),
        ("%KSampler.on%|%KSampler.none%|", "true||"),
        ("%CheckpointLoaderSimple.ckpt_name%", "SD1.5_a_b_model.safetensors"),
        ("%KSampler.steps%|%KSampler.model%|%KSampler.many%", "%KSampler.steps%|%KSampler.model%|%KSampler.many%"),
        ("%KSampler.nothing%|%Nobody.seed%|%KSampler%", "%KSampler.nothing%|%Nobody.seed%|%KSampler%"),
        ("%Note.text%", "%Note.text%"),
        ("%width%x%height%_%batch_num%_%year%", "%width%x%height%_%batch_num%_%year%"),
        ("%a.b.date:c%", "%a.b.date:c%"),
        ("%KSampler.seed%" * 1000, "%KSampler.seed%" * 1000),
        (["9", 0], ["9", 0]),
        (5, 5),
    ],
)
def test_prefixes(prefix: Any, expanded: Any) -> None:
    given, untouched = graph(prefix), graph(prefix)
    assert expand_prefixes(given, None, lambda: NOW) == graph(expanded)
    assert given == untouched


def test_names_that_the_editor_knows() -> None:
    editor = {"nodes": [
        {"id": 5, "properties": {"Node name for S&R": "refiner"}}, {"id": 3}, None, {"id": 4, "properties": []},
        {"id": 6, "properties": {"Node name for S&R": 5}},
    ]}  # fmt: skip
    given = graph("%refiner.seed%_%KSampler.seed%")
    expanded = expand_prefixes(given, {"workflow": editor}, lambda: NOW)
    assert expanded["8"]["inputs"]["filename_prefix"] == "43_42"
    odd: Any
    for odd in (None, {}, {"workflow": None}, {"workflow": {"nodes": 5}}, {"workflow": []}):
        odd_expanded = expand_prefixes(given, odd, lambda: NOW)
        assert odd_expanded["8"]["inputs"]["filename_prefix"] == "%refiner.seed%_42"


@pytest.mark.backends("embedded", "websocket")
def test_files_have_the_names_that_the_editor_would_give(worker: Worker) -> None:
    saving = graphs.solid(0x2A2B2C, width=72)
    saving["2"]["inputs"]["filename_prefix"] = "%date:yyyy%/%EmptyImage.width%_%width%"
    saving["3"] = graphs.node("SaveLatent", samples=["4", 0], filename_prefix="%EmptyLatentImage.height%")
    saving["4"] = graphs.node("EmptyLatentImage", width=64, height=32, batch_size=1)
    answer = asyncio.run(make_handler(worker)({"input": {"workflow": saving}}))
    (image,), (latent,) = answer["images"], answer["files"]
    assert image["subfolder"] == time.strftime("%Y")
    assert re.fullmatch(r"72_72_\d{5}_\.png", image["filename"])
    assert re.fullmatch(r"32_\d{5}_\.latent", latent["filename"])


def test_a_new_second_is_a_new_name_and_no_new_sampling(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI's cache knows SaveImage by the name that is used, and the nodes before it as ever."""

    class Clock(datetime):
        second_now = 1

        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls(2026, 3, 5, 7, 8, cls.second_now)

    monkeypatch.setattr("worker.job.prefixes.datetime", Clock)
    saving = graphs.through("TestCountsRuns", color=0x2A2B2D)
    saving["2"]["inputs"]["filename_prefix"] = "at_%date:ss%"
    names, runs = [], []
    for second in (1, 1, 2):
        Clock.second_now = second
        events: list[Any] = []
        with_events = worker.run(saving, on_event=events.append)
        names.append(with_events.artifacts[0].filename)
        runs.append("TestCountsRuns" in str(events))
    assert names == ["at_01_00001_.png", "at_01_00001_.png", "at_02_00001_.png"]
    assert runs == [True, False, False]
