"""What one job may take of the host's memory: small files and nodes that become large are refused, and nobody else is
harmed."""

from __future__ import annotations

import asyncio
import json
import resource
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import graphs
import memory_bombs as bombs
import psutil
import pytest
from graphs import Graph, node
from memory_group import memory_group
from runpod_worker import Start

from worker import Worker
from worker.embedded.memory.job_memory import JobMemory
from worker.embedded.memory.plain_nodes import is_plain
from worker.embedded.memory.process import ProcessMemory
from worker.embedded.memory.rest import Rest
from worker.engine import memory_limits
from worker.engine.life import Life
from worker.engine.memory_limits import MemoryLimits
from worker.engine.prepare import prepare_run
from worker.errors import JobTooLarge, SettingsError
from worker.handler import make_handler
from worker.job.parse import parse_job
from worker.settings import Settings, load_settings

MB = 1_000_000
UNLIMITED = resource.getrlimit(resource.RLIMIT_DATA)


def ask(worker: Worker, workflow: Graph, **more: Any) -> Any:
    """The answer of the real handler."""
    return asyncio.run(make_handler(worker)({"id": "job", "input": {"workflow": workflow, **more}}))


def memory_of(worker: Worker) -> JobMemory:
    """The memory of the worker's jobs."""
    return worker.embedded_runtime().job_memory


@pytest.fixture
def small(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """The worker, whose jobs may take 400 MB. Nothing may be unloaded."""
    monkeypatch.setattr(memory_of(worker), "limits", MemoryLimits(64_000 * MB, job=400 * MB, process=60_000 * MB))
    monkeypatch.setattr(worker, "settings", worker.settings.model_copy(update={"max_job_mb": 400.0}))
    unloaded: list[bool] = []
    monkeypatch.setattr(worker.embedded_runtime().memory, "make_room", lambda: unloaded.append(True))
    ask(worker, graphs.solid())
    yield worker
    assert not unloaded, "models were unloaded"
    assert resource.getrlimit(resource.RLIMIT_DATA) == UNLIMITED
    assert set(ask(worker, graphs.solid(0x00FF00))) == {"images"}, "the next job runs"


BOMBS: dict[str, tuple[Graph, str]] = {
    "a batch that no machine has": (bombs.empty_image(16384, 4096), "bomb (EmptyImage)"),
    "a batch": (bombs.empty_image(2048, 12), "bomb (EmptyImage)"),
    "latents": (bombs.repeated_latents(4096, 64), "bomb (RepeatLatentBatch)"),
    "repeated images": (bombs.repeated(1024, 60), "bomb (RepeatImageBatch)"),
    "doubled images": (bombs.doubled_images(8), "(ImageBatch)"),
    "doubled texts": (bombs.doubled_texts(21), "(StringConcatenate)"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_node_that_makes_too_much_is_refused(small: Worker, kind: str) -> None:
    graph, who = BOMBS[kind]
    before = memory_of(small).process.read().anonymous
    answer = ask(small, graph)
    assert answer["error_type"] == "job_too_large"
    assert answer["error"].startswith("Node ")
    assert f"{who}: a job may take 400 MB of memory (MAX_JOB_MB), and this one needs more" in answer["error"]
    assert memory_of(small).process.read().anonymous < before + 100 * MB, "what it had is free again"


def test_a_job_is_not_helped_by_other_nodes_between(small: Worker) -> None:
    """A node of a pack is not limited itself. It does not give the next node a new beginning."""
    graph: Graph = {"0": node("EmptyImage", width=1024, height=1024, batch_size=8, color=0)}
    for number in range(8):
        through = graph[f"{number}p"] = node("TestLogs", image=[str(number), 0], text="x")
        assert through
        graph[str(number + 1)] = node("ImageBatch", image1=[f"{number}p", 0], image2=["0", 0])
    assert ask(small, bombs.saved(graph, "8"))["error_type"] == "job_too_large"


@pytest.mark.parametrize("lies", [False, True])
def test_a_film_is_refused_while_it_is_decoded(small: Worker, lies: bool) -> None:
    film = bombs.film(90)
    assert len(film) < 19_000
    sent = bombs.sent("a.mp4", bombs.lying(film) if lies else film)
    answer = ask(small, bombs.decoded_film("a.mp4"), images=sent)
    assert answer["error_type"] == "job_too_large"
    assert "(GetVideoComponents)" in answer["error"]


def test_a_film_that_no_node_decodes_may_be_long(small: Worker) -> None:
    """LoadVideo and SaveVideo copy its packets."""
    graph = {
        "1": node("LoadVideo", file="a.mp4"),
        "2": node("SaveVideo", video=["1", 0], filename_prefix="film", format="auto", codec="auto"),
    }
    assert "error" not in ask(small, graph, images=bombs.sent("a.mp4", bombs.film(90)))


def test_a_picture_of_thirty_bytes_is_refused_before_it_is_decoded(small: Worker) -> None:
    picture = bombs.webp(10_000, 10_000)
    assert len(picture) < 40
    answer = ask(small, graphs.load("a.webp"), images=bombs.sent("a.webp", picture))
    assert answer["error_type"] == "job_too_large"
    assert answer["error"].startswith(
        "The input files have 1,200 MB when they are decoded (the largest: a.webp): a job"
    )


def test_a_picture_that_is_small_enough_may_still_need_too_much(small: Worker) -> None:
    """LoadImage makes several copies of it."""
    answer = ask(small, graphs.load("a.webp"), images=bombs.sent("a.webp", bombs.webp(5500, 5500)))
    assert answer["error_type"] == "job_too_large"
    assert "Node 1 (LoadImage)" in answer["error"]


def test_the_pictures_of_a_job_count_together(small: Worker) -> None:
    one = bombs.webp(4000, 4000)
    images = [*bombs.sent("a.webp", one), *bombs.sent("b.webp", one), *bombs.sent("c.webp", one)]
    assert ask(small, graphs.solid(), images=images)["error_type"] == "job_too_large"
    assert "images" in ask(small, graphs.solid(), images=images[:2])


def test_the_header_of_a_film_counts_for_a_server_elsewhere(worker: Worker) -> None:
    """Nothing in this process holds the nodes of a server. ``auto`` speaks of this container, not of the server's."""
    film = {"workflow": bombs.decoded_film("a.mp4"), "images": bombs.sent("a.mp4", bombs.film(90))}
    job = parse_job({"input": film})
    remote = worker.settings.model_copy(update={"comfy_backend": "websocket", "max_job_mb": 400.0})
    with pytest.raises(JobTooLarge, match="995 MB"):
        prepare_run(job, remote, worker.state, None, None)
    prepare_run(job, remote.model_copy(update={"max_job_mb": "auto"}), worker.state, None, None).workspace.close()


def test_a_large_job_within_the_limit_passes(small: Worker) -> None:
    for _ in range(3):
        answer = ask(small, bombs.empty_image(1024, 8), output_format="jpeg")
        assert len(answer["images"]) == 8
        large = bombs.saved({"0": node("EmptyImage", width=1024, height=1024, batch_size=12, color=1)}, "0")
        large["crop"] = node("ImageFromBatch", image=["0", 0], batch_index=0, length=1)
        large["save"]["inputs"]["images"] = ["crop", 0]
        assert len(ask(small, large)["images"]) == 1


def test_the_limit_can_be_off(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_of(worker), "limits", MemoryLimits())
    graph = bombs.empty_image(2048, 12)
    graph["save"] = node("ImageFromBatch", image=["bomb", 0], batch_index=0, length=1)
    graph["out"] = node("SaveImage", images=["save", 0], filename_prefix="off")
    assert len(ask(worker, graph)["images"]) == 1


def test_models_stay_loaded(small: Worker, tiny_checkpoint: Path) -> None:
    management = small.embedded_runtime().main.comfy.model_management
    assert "images" in ask(small, graphs.text_to_image())
    loaded = list(management.current_loaded_models)
    assert loaded
    answer = ask(small, {**graphs.text_to_image(), **bombs.empty_image(16384, 4096)})
    assert answer["error_type"] == "job_too_large"
    assert management.current_loaded_models == loaded


def growing(deed: str) -> Graph:
    """A node of a pack that takes 3 GB."""
    return graphs.through("TestMisbehaves", deed=deed, count=3000)


@pytest.mark.parametrize("deed", ["grows", "grows_deaf"])
def test_a_node_that_grows_slowly_is_stopped(worker: Worker, monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    """Whether it heeds interrupts or not."""
    used = memory_of(worker).process.read().used
    limits = MemoryLimits(container=used + 1500 * MB, job=0, process=used + 500 * MB)
    monkeypatch.setattr(memory_of(worker), "limits", limits)
    answer = ask(worker, growing(deed))
    assert answer["error_type"] == "out_of_memory"
    assert answer["error"].startswith("Node 3 (TestMisbehaves): the job was stopped, since this worker had ")
    assert "(MAX_RSS_MB)" in answer["error"]
    assert resource.getrlimit(resource.RLIMIT_DATA) == UNLIMITED
    assert set(ask(worker, graphs.solid())) == {"images"}


def test_the_limit_is_lifted_when_a_job_is_cancelled(small: Worker) -> None:
    async def cancelled() -> None:
        graph = graphs.through("TestSleeps", steps=500)
        task = asyncio.ensure_future(small.arun(graph))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(cancelled())
    assert resource.getrlimit(resource.RLIMIT_DATA) == UNLIMITED


def test_a_text_that_is_too_long_to_be_sent_is_left_out(worker: Worker) -> None:
    answer = ask(worker, {**graphs.solid(), **{f"t{key}": value for key, value in long_text().items()}})
    assert len(answer["images"]) == 1
    assert answer["errors"] == ["Node tshow showed a text that is too long to be sent: 65,536,000 characters"]


def long_text() -> Graph:
    """A text of 64 million letters that a node shows, with ids that begin with ``t``."""
    text = json.dumps(bombs.doubled_texts(16))
    for number in range(17):
        text = text.replace(f'["{number}", 0]', f'["t{number}", 0]')
    graph: Graph = json.loads(text)
    return graph


def test_only_nodes_that_handle_data_are_limited(worker: Worker) -> None:
    """A node that loads a model may map a file of any size."""
    classes = worker.embedded_runtime().main.nodes.NODE_CLASS_MAPPINGS
    plain = {name for name, known in classes.items() if is_plain(known)}
    assert {
        "EmptyImage",
        "ImageBatch",
        "LoadImage",
        "SaveImage",
        "StringConcatenate",
        "LoadVideo",
        "SaveLatent",
    } <= plain
    assert not plain & {"CheckpointLoaderSimple", "CLIPTextEncode", "KSampler", "VAEDecode", "UNETLoader", "LoraLoader"}
    assert not any(name.startswith("Test") for name in plain), "nodes of packs are only watched"


@pytest.mark.parametrize(
    ("files", "lines", "expected"),
    [
        ({"memory.max": "4000000000"}, "0::/", 4_000_000_000),
        ({"memory.max": "max", "a/memory.max": "3000000000", "a/b/memory.max": "max"}, "0::/a/b", 3_000_000_000),
        ({"memory/memory.limit_in_bytes": "2000000000"}, "4:memory:/docker/0123\n0::/", 2_000_000_000),
        ({"memory/x/memory.limit_in_bytes": "9223372036854771712"}, "4:cpu,memory:/x", None),
        ({}, "0::/", None),
    ],
)
def test_the_containers_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], lines: str, expected: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "cgroup").write_text(lines + "\n")
    monkeypatch.setattr(memory_limits, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory_limits, "_CGROUP_OF_PROCESS", tmp_path / "cgroup")
    total = psutil.virtual_memory().total
    assert memory_limits.container_memory.__wrapped__() == min(expected or total, total)


def test_the_limits_are_shares_of_the_containers_memory(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(memory_limits, "container_memory", lambda: 8_000 * MB)
    assert MemoryLimits.of(settings) == MemoryLimits(8_000 * MB, 4_000 * MB, 7_200 * MB, 0)
    numbers = settings.model_copy(update={"max_job_mb": 100.0, "max_rss_mb": 500.0})
    assert MemoryLimits.of(numbers) == MemoryLimits(8_000 * MB, 100 * MB, 7_200 * MB, 500 * MB)
    off = settings.model_copy(update={"max_job_mb": 0.0, "max_rss_mb": 0.0})
    assert MemoryLimits.of(off) == MemoryLimits(8_000 * MB, 0, 0, 0)


def test_the_settings_take_auto_or_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_JOB_MB", "Auto")
    monkeypatch.setenv("MAX_RSS_MB", "1500.5")
    assert (load_settings().max_job_mb, load_settings().max_rss_mb) == ("auto", 1500.5)
    for text in ("half", "-1", "nan", "inf"):
        monkeypatch.setenv("MAX_JOB_MB", text)
        with pytest.raises(SettingsError, match="it takes auto, or a number, 0 or above"):
            load_settings()


def test_between_jobs_auto_counts_no_mapped_files(tmp_path: Path) -> None:
    process, life, calls = ProcessMemory(tmp_path), Life(), []
    process.trim()  # As the code under test does.
    now = process.read()
    assert now.anonymous < now.resident
    management = types.SimpleNamespace(soft_empty_cache=lambda: None)
    main = types.SimpleNamespace(comfy=types.SimpleNamespace(model_management=management))
    device: Any = types.SimpleNamespace(make_room=lambda: calls.append("room"))
    between = (now.anonymous + now.resident) // 2
    Rest(main, device, process, life, MemoryLimits(process=between))()
    assert not calls
    Rest(main, device, process, life, MemoryLimits(between_jobs=between))()
    assert calls == ["room"]
    assert not life.takes_jobs


@pytest.mark.full
def test_the_kernel_ends_nobody_in_a_container_of_4_gb(start: Start) -> None:
    """A worker gets a bomb of each kind. It answers each with an error, and goes on."""
    film, large = bombs.film(400), bombs.webp(11_000, 11_000)
    jobs: dict[str, dict[str, Any]] = {
        "no-machine-has-it": {"workflow": bombs.empty_image(16384, 4096)},
        "batch": {"workflow": bombs.empty_image(4096, 18)},
        "repeated": {"workflow": bombs.repeated(1024, 300)},
        "images": {"workflow": bombs.doubled_images(12)},
        "texts": {"workflow": bombs.doubled_texts(30)},
        "long-text": {"workflow": bombs.doubled_texts(19)},
        "latents": {"workflow": bombs.repeated_latents(2048, 64)},
        "files": {"workflow": bombs.saved_latents(2048, 850, 3)},
        "film": {"workflow": bombs.decoded_film("a.mp4"), "images": bombs.sent("a.mp4", film)},
        "lying-film": {"workflow": bombs.decoded_film("a.mp4"), "images": bombs.sent("a.mp4", bombs.lying(film))},
        "picture": {"workflow": graphs.load("a.webp"), "images": bombs.sent("a.webp", bombs.webp(13_300, 13_300))},
        "decoded-picture": {
            "workflow": graphs.load("a.webp"),
            "images": bombs.sent("a.webp", large),
        },
        "pack": {"workflow": graphs.through("TestMisbehaves", deed="grows", count=8000)},
        "deaf-pack": {"workflow": graphs.through("TestMisbehaves", deed="grows_deaf", count=8000)},
    }
    try:
        group = memory_group(4_000 * MB)
        limited = group.__enter__()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        with start(*limited.prefix) as process:
            for name, job in jobs.items():
                for job_id, sent in ((name, job), (f"after-{name}", {"workflow": graphs.solid()})):
                    process.api.give(job_id, sent)
                    result = process.api.result(job_id, 60)
                    assert ("error" in result) is (job_id == name), (job_id, str(result)[:500])
                assert limited.kills() == 0, name
            process.api.give("stuck", {"workflow": graphs.through("TestMisbehaves", deed="fills_deaf", count=8000)})
            assert process.api.result("stuck", 60)["output"]["error_type"] == "out_of_memory"
            assert process.end() == 1, "such a node never stops: the worker is replaced"
            assert limited.kills() == 0
    finally:
        group.__exit__(None, None, None)
