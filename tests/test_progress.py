"""Progress is folded from events as they come, and foretold from earlier runs."""

from __future__ import annotations

import io
import json
import random
import sys
import time
import tracemalloc
from typing import Any

import graphs
import pytest
from PIL import Image
from pydantic import SecretStr
from rich.console import Console

from worker import Settings
from worker.events import (
    Event,
    Forecast,
    Message,
    ModelLoading,
    NodeProgress,
    NodesCached,
    NodeStarted,
    Preview,
    PromptEnded,
    PromptStarted,
)
from worker.progress.graph_shape import graph_shape
from worker.progress.history import History
from worker.progress.job_progress import JobProgress
from worker.progress.preview_jpeg import MAX_BYTES, MAX_SIDE, preview_jpeg
from worker.progress.terminal import TerminalProgress
from worker.progress.titles import node_title
from worker.progress.watched import watched
from worker.progress.words import about_left
from worker.settings import load_settings


class Clock:
    """The time that progress is measured by."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("job_progress", "node_time", "watched"):
        monkeypatch.setattr(f"worker.progress.{module}.time", clock)
    return clock


def test_a_workflow_from_start_to_end() -> None:
    progress = JobProgress()
    assert progress.report() == {
        "stage": "running", "message": "starting", "percent": 0.0, "completed_nodes": 0, "total_nodes": 0, "seconds": 0,
    }  # fmt: skip
    percents = []
    for event in (
        PromptStarted("p", 5),
        NodesCached(("1",)),
        NodeStarted("2", "2", "KSampler"),
        NodeProgress("2", 5, 20),
        NodeProgress("2", 20, 20),
        NodeStarted("3", "3", "VAEDecode"),
        Message("anything", {}),
        NodeStarted("4", "4", "SaveImage"),
    ):
        progress(event)
        percents.append(progress.percent)
    assert percents == [0, 0, 0, 6.25, 25, 25, 25, 50], "of the nodes that are not cached"
    assert progress.report()["message"] == "SaveImage (4)"
    progress(PromptEnded("p", "success"))
    assert (progress.percent, progress.completed, progress.report()["stage"]) == (100, 5, "saving")


def test_an_expansion_counts_as_the_node_that_the_user_sees() -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 2))
    for node_id in ("1", *(f"1.{index}" for index in range(9))):
        progress(NodeStarted(node_id, "1", "Loop"))
    assert (progress.completed, progress.percent) == (0, 0)


def test_numbers_and_names_that_json_cannot_hold() -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 1))
    progress(NodeStarted("\ud800", "\ud800" * 1000, "x" * 1000, "t"))
    progress(NodeProgress("1", float("nan"), 20))
    progress(NodeProgress("1", float("inf"), float("inf")))
    progress(NodeProgress("1", 1e300, 1e308))
    report = progress.report()
    assert len(json.dumps(report, allow_nan=False, ensure_ascii=False).encode()) < 3000


def test_steps_that_make_no_sense_do_no_harm() -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 1))
    progress(NodeStarted("1", "1", "Odd"))
    progress(NodeProgress("1", 7, 0))
    assert progress.percent == 0
    assert "step" not in progress.report()
    progress(NodeProgress("1", 30, 20))
    report = progress.report()
    assert (report["step"], report["steps"], report["percent"]) == (20, 20, 99.9), "it is not at its end"
    progress(NodeProgress("1", -5, 20))
    assert (progress.report()["step"], progress.report()["percent"]) == (0, 99.9), "it never goes backwards"


def test_what_runs_is_told_with_title_and_step() -> None:
    progress = JobProgress()
    for event in (PromptStarted("p", 2), NodeStarted("3", "3", "KSampler", "Paint"), NodeProgress("3", 4, 20)):
        progress(event)
    report = progress.report()
    assert report.items() >= {"node_id": "3", "title": "Paint", "step": 4, "steps": 20, "stage": "running"}.items()
    assert report["message"] == "KSampler (3): step 4 of 20", "as before"
    progress(NodeStarted("4", "4", "SaveImage"))
    assert not {"title", "step", "steps"} & progress.report().keys()


def test_a_new_workflow_does_not_show_the_last_node_of_the_one_before() -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 1))
    progress(NodeStarted("9", "9", "SaveImage", "Save"))
    progress(PromptEnded("p", "success"))
    progress(PromptStarted("q", 1))
    assert (progress.label, progress.title, progress.report()["message"]) == ("", "", "starting")


def test_an_id_of_a_node_commands_no_terminal() -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 1))
    progress(NodeStarted("\x1b]0;owned\x07", "\x1b]0;owned\x07", "KSampler"))
    assert progress.label.isprintable()


def test_a_model_of_the_node_before_is_no_stage_of_this_one() -> None:
    """What tells of models has a thread of its own, so it may come late."""
    progress = JobProgress()
    for event in (PromptStarted("p", 2), NodeStarted("4", "4", "Loader"), NodeStarted("5", "5", "KSampler")):
        progress(event)
    progress(ModelLoading("4", "late.safetensors", 1, 2))
    assert progress.report()["stage"] == "running"


def test_a_reader_never_finds_more_than_was_done() -> None:
    """Reads between all the lines that a node's start and end take, as another thread may."""
    progress = JobProgress()
    found: list[float] = []

    def read(frame: Any, kind: str, argument: object) -> Any:
        if kind == "line" and frame.f_code.co_name in ("_finish", "_start"):
            found.append(progress.percent)
        return read

    progress(PromptStarted("p", 4))
    progress(NodeStarted("1", "1", "KSampler"))
    progress(NodeProgress("1", 20, 20))
    previous = sys.gettrace()
    sys.settrace(read)
    try:
        progress(NodeStarted("2", "2", "VAEDecode"))
    finally:
        sys.settrace(previous)
    assert len(found) > 5
    assert max(found) == progress.percent == 25


def test_a_model_that_is_loaded_is_a_stage() -> None:
    progress = JobProgress()
    for event in (
        PromptStarted("p", 2),
        NodeStarted("4", "4", "CheckpointLoaderSimple"),
        ModelLoading("4", "a.safetensors", 120_400_000, 304_000_000),
    ):
        progress(event)
    report = progress.report()
    assert report.items() >= {"stage": "loading model", "loaded_mb": 120.4, "model_mb": 304.0}.items()
    assert report["message"] == "CheckpointLoaderSimple (4): loading model, 120 of 304 MB"
    progress(ModelLoading("4", "SD1", None, 5_000_000))
    assert progress.report()["message"] == "CheckpointLoaderSimple (4): loading model, 5 MB"
    assert "loaded_mb" not in progress.report()
    progress(ModelLoading("4", "SD1", 5_000_000, 5_000_000, is_over=True))
    assert progress.report()["stage"] == "running"


def test_nodes_count_by_the_time_that_they_took(clock: Clock) -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 3, Forecast({"1": 10.0, "2": 80.0, "3": 10.0}, is_same_graph=True)))
    progress(NodeStarted("1", "1", "Loader"))
    assert (progress.percent, progress.seconds_left) == (0, 100)
    clock.now += 5
    assert (progress.percent, progress.seconds_left) == (5, 95), "without steps, the time counts"
    clock.now += 25
    assert progress.percent == pytest.approx(9.5), "it takes longer than before, and waits"
    progress(NodeStarted("2", "2", "KSampler"))
    assert (progress.percent, progress.seconds_left) == (10, 90)
    progress(NodeProgress("2", 1, 4))
    clock.now += 10
    progress(NodeProgress("2", 2, 4))
    assert progress.percent == 50
    assert progress.seconds_left == pytest.approx(0.5 * 20 + 0.25 * 80 + 10), "its steps count more and more"
    progress(PromptEnded("p", "success"))
    assert (progress.percent, progress.seconds_left, progress.report()["seconds"]) == (100, None, 40.0)


def test_a_graph_of_other_runs_gives_weights_and_no_rest(clock: Clock) -> None:
    progress = JobProgress()
    progress(PromptStarted("p", 3, Forecast({"1": 90.0, "2": 1.0, "3": 4.0}, is_same_graph=False)))
    progress(NodesCached(("1",)))
    assert (progress.percent, progress.completed) == (0, 1), "what a model's loader took once is no part of this run"
    progress(NodeStarted("2", "2", "CLIPTextEncode"))
    progress(NodeStarted("3", "3", "KSampler"))
    assert (progress.percent, progress.seconds_left) == (20, None)
    assert "seconds_left" not in progress.report()


def test_a_second_prompt_of_a_job_does_not_take_its_percentage_back() -> None:
    progress = JobProgress()
    reports = []
    for event in (
        PromptStarted("p", 2),
        NodeStarted("1", "1", "A"),
        NodeStarted("2", "2", "B"),
        PromptEnded("p", "success", is_last=False),
        PromptStarted("q", 2, goes_on=True),
        NodeStarted("1", "1", "A"),
    ):
        progress(event)
        reports.append(progress.report())
    percents = [report["percent"] for report in reports]
    assert percents == sorted(percents)
    assert percents[-1] == 99.9
    assert {report["stage"] for report in reports} == {"running"}
    progress(PromptEnded("q", "success"))
    assert progress.report()["percent"] == 100
    progress(PromptStarted("r", 2))
    assert progress.percent == 0, "a bar is used for the next job as well"


# What earlier runs tell


def run_through(history: History, graph: dict[str, Any], clock: Clock, seconds: dict[str, float], end: str = "success",
                cached: tuple[str, ...] = ()) -> Forecast | None:  # fmt: skip
    """Run a graph, node by node; what was foretold of it."""
    told: list[Event] = []
    listen = watched(graph, told.append, load_settings(), history)
    assert listen is not None
    listen(PromptStarted("p", len(graph)))
    listen(NodesCached(cached))
    for node_id, taken in seconds.items():
        listen(NodeStarted(node_id, node_id.partition(".")[0], graph[node_id.partition(".")[0]]["class_type"]))
        clock.now += taken
    listen(PromptEnded("p", end))
    assert isinstance(told[0], PromptStarted)
    return told[0].forecast


def test_the_same_graph_is_foretold_from_its_last_runs(clock: Clock) -> None:
    history, graph = History(), graphs.through("TestSleeps", steps=3)
    assert run_through(history, graph, clock, {"1": 1, "3": 60, "2": 1}) is None
    graph["3"]["_meta"] = {"title": "another title"}
    first = run_through(history, graph, clock, {"1": 1, "3": 8, "2": 1})
    assert first == Forecast({"1": 1.0, "2": 1.0, "3": 60.0}, is_same_graph=True)
    second = run_through(history, graph, clock, {"3": 10, "2": 1}, cached=("1",))
    assert second == Forecast({"1": 1.0, "2": 1.0, "3": 8.0}, is_same_graph=True), "the first run loads models"
    assert run_through(history, graph, clock, {}) == Forecast({"1": 1.0, "2": 1.0, "3": 9.0}, is_same_graph=True)


def test_a_graph_that_failed_is_not_known_but_its_nodes_are(clock: Clock) -> None:
    history, graph = History(), graphs.through("TestSleeps", steps=3)
    run_through(history, graph, clock, {"1": 2, "3": 6}, end="error")
    forecast = run_through(history, graph, clock, {})
    assert forecast == Forecast({"1": 2.0, "2": 2.0, "3": 2.0}, is_same_graph=False), "it failed within node 3"


def test_an_expansion_takes_the_time_of_its_nodes(clock: Clock) -> None:
    history, graph = History(), graphs.through("TestExpands")
    run_through(history, graph, clock, {"1": 1, "3": 1, "3.0.0.1": 5, "3.0.0.2": 3, "2": 1})
    forecast = run_through(history, graph, clock, {})
    assert forecast is not None
    assert forecast.seconds["3"] == 9


def test_the_shape_of_a_graph_leaves_out_what_makes_another_picture() -> None:
    shape = graph_shape(graphs.text_to_image(seed=1))
    other = graphs.text_to_image(seed=2)
    other["6"]["inputs"]["text"] = "a sea at night"
    other["9"]["inputs"]["filename_prefix"] = "another"
    other["3"]["inputs"]["cfg"] = 7.0
    other["3"]["_meta"] = {"title": "x"}
    assert graph_shape(dict(reversed(other.items()))) == shape
    for node_id, name, value in (
        ("3", "steps", 30), ("5", "width", 512), ("5", "batch_size", 4), ("3", "sampler_name", "heun"),
        ("3", "denoise", 0.5), ("4", "ckpt_name", "other.safetensors"), ("3", "cfg", 1.0), ("8", "samples", ["5", 0]),
    ):  # fmt: skip
        changed = graphs.text_to_image(seed=1)
        changed[node_id]["inputs"][name] = value
        assert graph_shape(changed) != shape, name


def test_odd_graphs_have_a_shape() -> None:
    odd: dict[str, Any] = {
        "\ud800": {"class_type": "\udfff", "inputs": {"steps": float("nan"), "a": [[], {}], "b": [1], "w": None}},
        "2": {"class_type": "X"},
        "3": {"class_type": "Y", "inputs": {"width": 10**400, "model": "m" * 10**7}},
    }
    assert graph_shape(odd) == graph_shape(dict(odd))


def test_the_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.progress.history._MOST_NODES", 100)
    monkeypatch.setattr("worker.progress.history._MOST_CLASSES", 10)
    history = History()
    for number in range(1000):
        graph = {str(node): graphs.node(f"Class{number % 50}") for node in range(9)}
        history.learn(bytes([number % 256, number // 256]), graph, {"1": 1.0, "2": 1.0}, ["3"], is_whole=True)
    assert sum(map(len, history._graphs.values())) == history._size <= 100
    assert len(history._classes) == 10
    large = {str(node): graphs.node("Large") for node in range(11)}
    history.learn(b"large", large, dict.fromkeys(large, 1.0), [], is_whole=True)
    assert b"large" not in history._graphs


def test_long_ids_of_nodes_take_no_memory() -> None:
    history = History()
    graph = {f"{number}{'x' * 100_000}": graphs.node("Long") for number in range(20)}
    first, *others = graph
    history.learn(b"long", graph, dict.fromkeys(others, 2.0), [first], is_whole=True)
    (learned,) = history._graphs.values()
    assert max(map(len, [*learned.ran, *learned.cached])) <= 64
    forecast = history.forecast(b"long", graph)
    assert forecast is not None
    assert forecast.is_same_graph
    assert forecast.seconds == dict.fromkeys(graph, 2.0)
    history.learn(b"other", graph, {"no node of it": 1.0}, [], is_whole=True)
    assert not history._graphs[b"other"].ran


def test_ten_thousand_graphs_take_some_megabytes() -> None:
    history = History()
    tracemalloc.start()
    try:
        for number in range(10_000):
            graph = {f"{number}:{node}": graphs.node("Class") for node in range(12)}
            history.learn(number.to_bytes(16), graph, dict.fromkeys(graph, 1.0), [], is_whole=True)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert history._size <= 50_000
    assert held < 20_000_000


# Titles and previews


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Paint  the\nlake", "Paint the lake"),
        ("a\x1b[31mred\u202e", "a [31mred"),
        ("half \ud83d of an emoji 🎨", "half of an emoji 🎨"),
        ("key sk-123456 here", "key ******** here"),
        ("x" * 10_000_000, "x" * 99 + "…"),
        ("y" * 95 + "sk-123456", "y" * 95 + "****…"),
        (5, ""), (None, ""), (["a"], ""), ("", ""),
    ],
)  # fmt: skip
def test_a_title_is_one_short_line_without_secrets(title: object, shown: str) -> None:
    graph = {"1": {"class_type": "A", "inputs": {}, "_meta": {"title": title}}}
    assert node_title(graph, "1", ["sk-123456", None]) == shown


def test_titles_that_are_none() -> None:
    nodes: list[dict[str, Any]] = [{}, {"_meta": None}, {"_meta": "x"}, {"_meta": []}, {"_meta": {}}]
    for node in nodes:
        assert node_title({"1": node}, "1") == ""
    assert node_title({}, "1") == ""


def test_a_title_shows_neither_the_callers_key_nor_the_operators(clock: Clock) -> None:
    settings = load_settings().model_copy(update={"comfy_org_api_key": SecretStr("operators-key")})
    graph = {"1": graphs.node("A") | {"_meta": {"title": "callers-key operators-key"}}}
    told: list[Event] = []
    listen = watched(graph, told.append, settings, History(), "callers-key")
    assert listen is not None
    listen(NodeStarted("1", "1", "A"))
    assert told == [NodeStarted("1", "1", "A", "******** ********")]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "F", "I", "I;16", "LA"])
def test_each_mode_becomes_a_small_jpeg(mode: str) -> None:
    for size in ((8, 8), (1024, 512), (4000, 5000), (20_000, 1)):
        content = preview_jpeg(Image.new(mode, size))
        assert content is not None
        picture = Image.open(io.BytesIO(content))
        picture.load()
        assert picture.format == "JPEG"
        assert max(picture.size) == min(MAX_SIDE, max(size))
        assert len(content) <= MAX_BYTES


def test_noise_becomes_coarser_or_smaller_until_it_fits() -> None:
    noise = Image.merge(
        "RGB", [Image.frombytes("L", (2000, 1500), random.Random(seed).randbytes(3_000_000)) for seed in (1, 2, 3)]
    )
    content = preview_jpeg(noise)
    assert content is not None
    assert len(content) <= MAX_BYTES
    assert noise.size == (2000, 1500), "the caller's picture stays"


def test_no_preview_is_made_of_what_is_none() -> None:
    assert preview_jpeg(Image.new("RGB", (8000, 8000))) is None
    assert preview_jpeg(Image.new("RGB", (0, 0))) is None


def listening(**changes: Any) -> tuple[Any, list[Event]]:
    told: list[Event] = []
    settings: Settings = load_settings().model_copy(update=changes)
    return watched({}, told.append, settings, History()), told


def test_previews_are_encoded_if_asked_for_and_seldom(clock: Clock) -> None:
    listen, told = listening(progress_previews=True, progress_interval_s=2.0)
    for _ in range(10):
        listen(Preview("3", Image.new("RGB", (8, 8), "red")))
        clock.now += 0.5
    assert [index for index, event in enumerate(told) if isinstance(event, Preview) and event.jpeg] == [0, 4, 8]
    assert len(told) == 10, "a listener in Python gets each"
    listen, told = listening(progress_previews=False)
    listen(Preview("3", Image.new("RGB", (8, 8), "red")))
    assert isinstance(told[0], Preview)
    assert told[0].jpeg is None
    progress = JobProgress()
    progress(PromptStarted("p", 1))
    progress(told[0])
    assert "preview" not in progress.report()


def test_a_preview_that_is_no_picture_is_passed_on() -> None:
    listen, told = listening(progress_previews=True)
    listen(Preview("3", "no picture"))  # type: ignore[arg-type]
    assert isinstance(told[0], Preview)
    assert told[0].jpeg is None


def test_without_progress_nothing_is_added() -> None:
    told: list[Event] = []
    listener = told.append
    off = load_settings().model_copy(update={"progress_interval_s": 0.0})
    assert watched({}, listener, off, History()) is listener
    assert watched({}, None, load_settings(), History()) is None


def test_a_million_steps_cost_little() -> None:
    """A node pack may report a million steps a second. Each costs some microseconds, and none is kept."""
    listen, _ = listening()
    progress = JobProgress()
    listen = watched({}, progress, load_settings(), History())
    assert listen is not None
    listen(PromptStarted("p", 1))
    listen(NodeStarted("1", "1", "A"))
    began = time.perf_counter()
    for step in range(100_000):
        listen(NodeProgress("1", step, 100_000))
    assert time.perf_counter() - began < 2
    assert progress.report()["step"] == 99_999


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.2, "less than 1 s left"), (12.4, "about 12 s left"), (99.4, "about 99 s left"),
     (100, "about 2 min left"), (3600, "about 60 min left"), (8000, "about 2 h left")],
)  # fmt: skip
def test_the_rest_is_told_in_words(seconds: float | None, words: str) -> None:
    assert about_left(seconds) == words


# The terminal


def test_the_bars_show_the_time_of_the_workflow_and_of_its_node() -> None:
    """And not that of the start, or of what ran before."""
    bar = TerminalProgress(Console(file=io.StringIO(), force_terminal=True))
    now = [0.0]
    bar._progress.get_time = lambda: now[0]
    nodes, steps = bar._progress.tasks
    nodes._get_time = steps._get_time = bar._progress.get_time
    for event, second in (
        (PromptStarted("p", 2), 100), (NodeStarted("1", "1", "KSampler"), 101), (NodeProgress("1", 1, 20), 105),
        (NodeStarted("2", "2", "SaveImage"), 110), (PromptStarted("p2", 2, goes_on=True), 112),
    ):  # fmt: skip
        now[0] = second
        bar(event)
        if second == 105:
            assert (nodes.elapsed, steps.elapsed) == (5, 4)
    assert nodes.elapsed == 12
    bar(PromptStarted("p3", 2))
    now[0] = 115
    assert nodes.elapsed == 3
