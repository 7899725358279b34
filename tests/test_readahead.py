"""Model files are read into the page cache before ComfyUI asks for them: in parallel, once, and no more than needed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphs import Graph, decoded, node, solid, text_to_image, through
from memory_group import memory_group
from slow_volume import NoFuse, SlowVolume, slow_volume

from worker import Settings, Worker
from worker.embedded.read_ahead import ModelsAhead
from worker.engine.memory_limits import container_memory, free_memory
from worker.errors import InvalidJob, WorkerError
from worker.events import NodeStarted
from worker.models.readahead.assumed import AssumedModels
from worker.models.readahead.known import KnownModels
from worker.models.readahead.names import NamedModel, in_order_of_need, last_nodes, named_models
from worker.models.readahead.page_cache import PIECE_BYTES
from worker.models.readahead.read_ahead import Ahead, ReadAhead
from worker.readiness import expect_warm_up
from worker.settings import load_settings

PIECES = 24
SIZE = PIECES * PIECE_BYTES
_WAIT_S = 120


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lies on the slow volume: two files that look like checkpoints."""
    folder = tmp_path_factory.mktemp("stored")
    checkpoints = folder / "models" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name in ("one.safetensors", "two.safetensors"):
        (checkpoints / name).write_bytes(os.urandom(SIZE))
    return folder


@pytest.fixture
def slow(stored: Path, tmp_path: Path) -> Iterator[SlowVolume]:
    """A volume on which each read of 128 KB takes 5 ms, and of which nothing is in the page cache."""
    try:
        with slow_volume(stored, tmp_path) as volume:
            yield volume
    except NoFuse as error:
        pytest.skip(f"there is no FUSE: {error}")


def begin(reader: ReadAhead, workflow: Graph, volume: Path) -> Ahead:
    """Read ahead what ``workflow`` names, as before ComfyUI is loaded."""
    return reader.begin(workflow, lambda: AssumedModels([volume / "models"]))


def bytes_read(volume: SlowVolume, name: str) -> list[int]:
    """For each byte of a file in steps of 4 KB, how often the volume was asked for it."""
    counts = [0] * (SIZE // 4096)
    for path, offset, size in volume.reads():
        if path.endswith(name):
            for page in range(offset // 4096, min(SIZE, offset + size) // 4096):
                counts[page] += 1
    return counts


def test_many_pieces_are_read_at_once(slow: SlowVolume) -> None:
    """Most of them are on their way before the first piece is done, and in the end each part was read."""
    ahead = begin(ReadAhead(free_memory), decoded("one.safetensors"), slow.path)
    assert ahead.wait(_WAIT_S)
    pieces = [offset // PIECE_BYTES for _, offset, _ in slow.reads()]
    assert len(set(pieces[: pieces.index(0) + 32])) >= 8, "one reader would read 32 parts of a piece after each other"
    assert min(bytes_read(slow, "one.safetensors")) == 1
    assert ahead.reading.done == ahead.reading.size == SIZE
    assert 0 < ahead.seconds()["read_ahead"] < _WAIT_S


def test_a_file_that_two_jobs_name_is_read_once(slow: SlowVolume) -> None:
    """The second job joins the first one, and what it needs is read on after the first one has stopped."""
    reader = ReadAhead(free_memory)
    first = begin(reader, decoded("one.safetensors"), slow.path)
    second = begin(reader, decoded("one.safetensors") | {"9": node("VAELoader", vae_name="x.pt")}, slow.path)
    while not second.reading.size:
        time.sleep(0.01)
    first.stop()
    assert second.wait(_WAIT_S)
    counts = bytes_read(slow, "one.safetensors")
    assert min(counts) == 1
    assert sum(counts) <= len(counts) * 1.05, "the kernel may ask for a part twice where two readers meet"


def test_what_is_in_memory_is_not_read(slow: SlowVolume) -> None:
    """A file whose pages are there costs nothing."""
    path = slow.path / "models" / "checkpoints" / "one.safetensors"
    path.read_bytes()
    asked = len(slow.reads())
    ahead = begin(ReadAhead(free_memory), decoded("one.safetensors"), slow.path)
    assert ahead.wait(_WAIT_S)
    assert ahead.reading.size == SIZE
    assert len(slow.reads()) <= asked + 32, "at most a piece: the kernel may drop a page at any time"


def test_files_come_in_the_order_of_need(slow: SlowVolume) -> None:
    """The graph runs the loader of the second file first, since its VAE decodes into what is saved."""
    graph = text_to_image(checkpoint="one.safetensors") | {
        "10": node("CheckpointLoaderSimple", ckpt_name="two.safetensors")
    }
    graph["8"]["inputs"]["vae"] = ["10", 2]
    assert begin(ReadAhead(free_memory), graph, slow.path).wait(_WAIT_S)
    files = [Path(path).stem for path, _, _ in slow.reads()]
    assert files[:32] == ["two"] * 32
    assert set(files) == {"one", "two"}


def test_a_stop_ends_the_reading(slow: SlowVolume) -> None:
    """Pieces that are on their way arrive, and no other is begun."""
    reader = ReadAhead(free_memory)
    ahead = begin(reader, decoded("one.safetensors"), slow.path)
    while not slow.reads():
        time.sleep(0.005)
    ahead.stop()
    assert ahead.wait(_WAIT_S)
    assert ahead.reading.is_cut
    assert {offset // PIECE_BYTES for _, offset, _ in slow.reads()} < set(range(PIECES))
    assert begin(reader, decoded("one.safetensors"), slow.path).wait(_WAIT_S)
    assert min(bytes_read(slow, "one.safetensors")) == 1, "the next job reads the rest"


def test_memory_bounds_it(slow: SlowVolume) -> None:
    """No more is read than memory has room for, for all jobs together."""
    reader = ReadAhead(lambda: SIZE // 2)
    first = begin(reader, decoded("one.safetensors"), slow.path)
    assert first.wait(_WAIT_S)
    second = begin(reader, decoded("two.safetensors"), slow.path)
    assert second.wait(_WAIT_S)
    assert 0 < first.reading.done + second.reading.done <= SIZE // 2
    first.stop()
    second.stop()
    assert begin(reader, decoded("two.safetensors"), slow.path).wait(_WAIT_S)
    assert max(bytes_read(slow, "two.safetensors")) == 1, "there is room again once the first job has ended"


def test_models_that_are_loaded_are_left_alone(slow: SlowVolume) -> None:
    """ComfyUI holds the weights of the last job's models, also where the kernel has dropped the files' pages."""
    reader = ReadAhead(free_memory)
    first = begin(reader, decoded("one.safetensors"), slow.path)
    first.stop(were_loaded=True)
    assert first.wait(_WAIT_S)
    time.sleep(0.5)  # What was on its way arrives.
    asked = len(slow.reads())
    assert begin(reader, decoded("one.safetensors"), slow.path).wait(_WAIT_S)
    assert len(slow.reads()) == asked
    assert begin(reader, solid(), slow.path).wait(_WAIT_S)
    assert begin(reader, decoded("one.safetensors"), slow.path).wait(_WAIT_S)
    assert len(slow.reads()) > asked, "a job without models lay between them, so ComfyUI may load them anew"


def test_a_job_reads_its_models_ahead(
    worker: Worker, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A real job, whose result and log say how much was read; ComfyUI itself has nothing left to read."""
    link = tiny_checkpoint.parent / "slow"
    stored = tmp_path / "stored"
    stored.mkdir()
    os.link(tiny_checkpoint, stored / "far.safetensors")
    try:
        with slow_volume(stored, tmp_path, latency_s=0.002) as volume, caplog.at_level(logging.INFO, "worker"):
            link.symlink_to(volume.path)
            result = worker.run(decoded("slow/far.safetensors"))
            asked = sum(size for _, _, size in volume.reads())
    except NoFuse as error:
        pytest.skip(f"there is no FUSE: {error}")
    finally:
        link.unlink(missing_ok=True)
    assert result.errors == ()
    assert list(result.seconds) == ["stage", "read_ahead", "run", "collect"]
    assert "of 1 model file(s) ahead in" in caplog.text
    assert asked <= tiny_checkpoint.stat().st_size * 1.1


def test_the_warm_up_is_read_before_comfyui_is_loaded(slow: SlowVolume, settings: Settings, tmp_path: Path) -> None:
    """The worker is not open yet, so its files are found without ComfyUI."""
    warm_up = tmp_path / "warm_up.json"
    warm_up.write_text(json.dumps(decoded("two.safetensors")))
    update = {"network_volume_path": slow.path, "warmup_workflow": warm_up}
    unopened = Worker(settings.model_copy(update=update))
    expect_warm_up(unopened)
    assert unopened.models_ahead._expected.wait(_WAIT_S)
    assert min(bytes_read(slow, "two.safetensors")) == 1
    unopened.close()


def test_it_can_be_switched_off(slow: SlowVolume, settings: Settings) -> None:
    """With MODEL_READAHEAD=off, and for a server elsewhere, nothing is read."""
    for update in ({"model_readahead": "off"}, {"comfy_backend": "websocket"}):
        ahead = ModelsAhead(settings.model_copy(update={"network_volume_path": slow.path, **update}))
        assert ahead.begin(decoded("one.safetensors")).wait(_WAIT_S)
    assert slow.reads() == []


def test_a_refused_job_reads_nothing(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what may run is read ahead."""
    begun: list[Graph] = []

    def note(workflow: Graph) -> Ahead:
        begun.append(workflow)
        return Ahead()

    monkeypatch.setattr(worker.models_ahead, "begin", note)
    denied = load_settings().model_copy(update={"node_denylist": ("VAEDecode",)})
    monkeypatch.setattr(worker, "_policy", Worker(denied)._policy)
    with pytest.raises(WorkerError, match="VAEDecode"):
        worker.run(decoded("tiny-sd.safetensors"))
    assert begun == []
    worker.run(solid())
    assert begun == [solid()]


def test_inputs_that_fail_stop_it(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose files cannot be staged needs no models."""
    stops: list[Ahead] = []

    class Noted(Ahead):
        def stop(self, *, were_loaded: bool = False) -> None:
            stops.append(self)

    monkeypatch.setattr(worker.models_ahead, "begin", lambda _: Noted())
    with pytest.raises(WorkerError):
        worker.run(solid(), images={"a.png": b"no picture"})
    assert len(stops) == 1
    worker.run(solid())
    assert len(stops) == 2


def test_a_cancelled_job_stops_it(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading ends with the job, in whatever way that ends."""
    stops: list[bool] = []

    class Noted(Ahead):
        def stop(self, *, were_loaded: bool = False) -> None:
            stops.append(were_loaded)

    monkeypatch.setattr(worker.models_ahead, "begin", lambda _: Noted())

    async def cancelled() -> None:
        task = asyncio.ensure_future(worker.arun(through("TestSleeps", steps=1000)))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert stops
    assert not any(stops)


GRAPHS: dict[str, Graph] = {
    "chains that meet": {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=1),
        "2": node("EmptyImage", width=8, height=8, batch_size=1, color=2),
        "3": node("EmptyImage", width=8, height=8, batch_size=1, color=3),
        "4": node("ImageInvert", image=["1", 0]),
        "5": node("ImageInvert", image=["4", 0]),
        "6": node("ImageBatch", image1=["5", 0], image2=["2", 0]),
        "7": node("ImageBatch", image1=["3", 0], image2=["6", 0]),
        "8": node("ImageInvert", image=["7", 0]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="a"),
    },
    "several outputs, and a node that none needs": {
        "9": node("EmptyImage", width=8, height=8, batch_size=1, color=4),
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=5),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("PreviewImage", images=["2", 0]),
        "4": node("EmptyImage", width=8, height=8, batch_size=1, color=6),
        "5": node("ImageBatch", image1=["4", 0], image2=["2", 0]),
        "6": node("SaveImage", images=["5", 0], filename_prefix="b"),
    },
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_order_is_that_of_comfyui(worker: Worker, name: str) -> None:
    """As the real executor runs the nodes."""
    graph = GRAPHS[name]
    ran: list[str] = []
    worker.run(graph, on_event=lambda event: ran.append(event.node_id) if isinstance(event, NodeStarted) else None)
    named = [NamedModel(node_id, "", "", "") for node_id in graph]
    outputs = KnownModels(worker.embedded_runtime()).outputs(graph)
    assert [each.node_id for each in in_order_of_need(named, graph, outputs)] == ran


def test_a_large_or_broken_graph_is_ordered(worker: Worker) -> None:
    """Cycles and links to nowhere are told by validation; a long chain takes no long time."""
    cycle = {"1": node("A", x=["2", 0], m="a.pt"), "2": node("B", x=["1", 0]), "3": node("C", x=["no", 0], m="b.pt")}
    assert [each.name for each in in_order_of_need(named_models(cycle), cycle, last_nodes(cycle))] == ["b.pt"]
    chain = {str(at): node("A", x=[str(at - 1), 0], m=f"{at}.pt") for at in range(20_000)}
    began = time.process_time()
    assert len(in_order_of_need(named_models(chain), chain, last_nodes(chain))) == 200
    assert time.process_time() - began < 10


def test_comfyui_knows_which_inputs_take_models(worker: Worker, tiny_checkpoint: Path) -> None:
    """A name elsewhere is read by nobody, so it is not read ahead either: such as that of a file in a text."""
    models, name = KnownModels(worker.embedded_runtime()), tiny_checkpoint.name
    assert models.find(NamedModel("1", "CheckpointLoaderSimple", "ckpt_name", name)) == tiny_checkpoint
    assert models.find(NamedModel("1", "CLIPTextEncode", "text", name)) is None
    assert models.find(NamedModel("1", "EmptyImage", "ckpt_name", name)) is None
    assert models.find(NamedModel("1", "NoSuchNode", "ckpt_name", name)) is None
    assert models.find(NamedModel("1", "CheckpointLoaderSimple", "ckpt_name", "missing.safetensors")) is None
    outside = tiny_checkpoint.parents[1] / "secret.safetensors"
    outside.write_bytes(b"1")
    assert models.find(NamedModel("1", "CheckpointLoaderSimple", "ckpt_name", "../secret.safetensors")) is None
    outside.unlink()


def test_files_are_found_without_comfyui(tmp_path: Path) -> None:
    """By the folders of the base directory, the volume and the operator's own; what is not sure is left out."""
    base, volume, own = (tmp_path / name for name in ("base", "volume", "own"))
    for path in (
        base / "checkpoints/both.safetensors", volume / "checkpoints/both.safetensors", base / "checkpoints/xl/a.ckpt",
        base / "vae/same.pt", volume / "loras/same.pt", volume / "clip/t5.safetensors", volume / "ipadapter/face.bin",
        base / "vae/twice.bin", volume / "ipadapter/twice.bin", own / "mine.safetensors", own / "t5.safetensors",
        base / "configs/x.pt", tmp_path / "above.safetensors",
    ):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")

    def found(models: AssumedModels, input_name: str, name: str) -> Path | None:
        return models.find(NamedModel("1", "Any", input_name, name))

    models = AssumedModels([base, volume], [("checkpoints", own, False)])
    assert found(models, "ckpt_name", "both.safetensors") == base / "checkpoints/both.safetensors"
    assert found(models, "ckpt_name", "xl\\a.ckpt") == base / "checkpoints/xl/a.ckpt"
    assert found(models, "ckpt_name", "mine.safetensors") == own / "mine.safetensors"
    assert found(models, "vae_name", "same.pt") == base / "vae/same.pt"
    assert found(models, "lora_name", "same.pt") == volume / "loras/same.pt"
    assert found(models, "ipadapter_file", "face.bin") == volume / "ipadapter/face.bin"
    assert found(models, "ipadapter_file", "twice.bin") is None
    assert found(models, "anything", "x.pt") is None
    for name in ("../above.safetensors", str(tmp_path / "above.safetensors"), "xl/../both.safetensors", "no.pt"):
        assert found(models, "ckpt_name", name) is None
    assert found(models, "clip_name1", "t5.safetensors") == volume / "clip/t5.safetensors"
    first = AssumedModels([base, volume], [("clip", own, True)])
    assert found(first, "clip_name1", "t5.safetensors") == own / "t5.safetensors"
    assert found(AssumedModels([tmp_path / "none"]), "ckpt_name", "a.ckpt") is None


def test_the_operators_files_of_paths_count(base_dir: Path, settings: Settings, tmp_path: Path) -> None:
    """``extra_model_paths.yaml`` and ``--models-directory`` are read as ComfyUI reads them."""
    config, models = tmp_path / "paths.yaml", tmp_path / "models"
    config.write_text(f"mine:\n  base_path: {tmp_path}\n  checkpoints: |\n    far\n    near\n")
    for path in (tmp_path / "near" / "a.ckpt", models / "vae" / "b.pt"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
    flags = ("--extra-model-paths-config", str(config), "--models-directory", str(models))
    found = ModelsAhead(settings.model_copy(update={"comfy_args": flags}))._models({})
    assert found.find(NamedModel("1", "Any", "ckpt_name", "a.ckpt")) == tmp_path / "near" / "a.ckpt"
    assert found.find(NamedModel("1", "Any", "vae_name", "b.pt")) == models / "vae" / "b.pt"


@pytest.mark.parametrize("kind", ["missing", "pipe", "folder", "empty"])
def test_a_file_that_cannot_be_read_costs_nothing(tmp_path: Path, kind: str) -> None:
    """ComfyUI says what is wrong with it, if it needs the file."""
    path = tmp_path / "models" / "checkpoints" / "a.safetensors"
    path.parent.mkdir(parents=True)
    made: dict[str, Any] = {"pipe": os.mkfifo, "folder": Path.mkdir, "empty": Path.touch}
    if kind in made:
        made[kind](path)
    ahead = begin(ReadAhead(free_memory), decoded("a.safetensors"), tmp_path)
    assert ahead.wait(_WAIT_S)
    assert ahead.reading.done == 0


def test_a_model_finder_that_raises_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The job runs as it would without."""

    def raising() -> AssumedModels:
        raise InvalidJob("no tree")

    assert ReadAhead(free_memory).begin(decoded("a.safetensors"), raising).wait(_WAIT_S)
    assert "not read ahead: InvalidJob: no tree" in caplog.text


def test_free_memory_is_the_containers(project: Path) -> None:
    """In a control group that is smaller than the machine, as a container is; files that it has read count as free."""
    assert 0 < free_memory() <= container_memory()
    limit, code = (
        300_000_000,
        (
            "import sys; from worker.engine.memory_limits import free_memory; held = bytearray(80_000_000); "
            "before = free_memory(); open(sys.argv[1], 'rb').read(); print(before, free_memory())"
        ),
    )
    file = project / "docs" / "soak.png"
    try:
        with memory_group(limit) as group:
            done = subprocess.run(
                [*group.prefix, sys.executable, "-c", code, file],
                cwd=project,
                capture_output=True,
                text=True,
                check=True,
            )
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    before, after = map(int, done.stdout.split())
    assert 0 < before < limit - 80_000_000
    assert abs(after - before) < 20_000_000
