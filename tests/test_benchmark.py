"""``scripts/benchmark``: a small real run, its statistics, what it makes of ``nvidia-smi``, and how it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from bench.contenders.contender import Run
from bench.contenders.setup import Setup
from bench.estimate import about, seconds
from bench.options import counts, parse
from bench.phases.gpu import GpuSample, GpuUse, GpuWatch, gpu_use, parse_sample
from bench.phases.memory import Memory, sample_memory
from bench.phases.outputs import Outputs
from bench.phases.queue import Queue
from bench.phases.slow_volume import LOCAL, LOCAL_LATER, measure_slow_volume
from bench.phases.start import Start
from bench.plan import PHASES, Counts, Plan
from bench.progress import Progress
from bench.report.comparison import Change, Estimate, Ratio, difference, ratio, spread
from bench.report.figures import START_LANES, Measured, make_figures
from bench.report.plots import draw
from bench.report.tables import report
from bench.workload.cases import BUILT_IN, Case, file_cases, with_seed
from bench.workload.models import CHECKPOINT
from bench.workload.real import REAL, kept_models, make_real_models
from graphs import solid, text_to_image

from worker.embedded.start.source import ComfySource, find_source
from worker.errors import InvalidJob
from worker.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
MINIMAL = ("--backend", "embedded", "--only", "warm", "--case", "empty-64", "--runs", "2")


def benchmark(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``scripts/benchmark ARGUMENTS``."""
    return subprocess.run(
        [ROOT / "scripts" / "benchmark", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_small_run(tmp_path: Path) -> None:
    figures_file, plots = tmp_path / "figures.json", tmp_path / "plots"
    done = benchmark(*MINIMAL, "--json", figures_file, "--plot", plots)
    assert done.returncode == 0, done.stderr
    assert "empty-64" in done.stdout
    figures = json.loads(figures_file.read_text())
    assert figures["schema"] == 1
    assert figures["warm"]["empty-64"].keys() == {"embedded", "bare"}
    measured = figures["warm"]["empty-64"]["embedded"]
    assert len(measured["ms"]) == 2
    assert measured["images"] == 1
    assert measured["answer_bytes"] > 100
    assert measured["overhead_ms"] is not None
    assert figures["ratios"] == figures["start"] == figures["memory"] == {}
    assert figures["complete"] is True
    assert "stopped early" not in done.stdout
    assert done.stderr.startswith("this takes about a minute on two cores")
    assert (plots / "latency.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout of this project, with names of its own inside."""
    tree = tmp_path / "before"
    shutil.copytree(ROOT / "worker", tree / "worker", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "worker" / "redact.py").rename(tree / "worker" / "old_redact.py")
    for path in (tree / "worker").rglob("*.py"):
        path.write_text(path.read_text().replace("worker.redact", "worker.old_redact"))
    return tree


def test_another_checkout_takes_part(checkout: Path, tmp_path: Path) -> None:
    figures_file, plots = tmp_path / "figures.json", tmp_path / "plots"
    done = benchmark(*MINIMAL, "--against", checkout, "--json", figures_file, "--plot", plots)
    assert done.returncode == 0, done.stderr
    figures = json.loads(figures_file.read_text())
    assert figures["warm"]["empty-64"].keys() == {"embedded", "against"}
    assert figures["ratios_against"]["empty-64"] > 0
    assert figures["changes"]["empty-64"].keys() == {"difference_ms", "interval_ms", "is_within", "is_sure"}
    assert "embedded ÷ against" in done.stdout
    assert (plots / "latency.png").exists()


@pytest.mark.full  # The short form runs a checkout that starts, and a benchmark whose ComfyUI does not.
def test_a_checkout_that_cannot_start_is_told(checkout: Path) -> None:
    (checkout / "worker" / "old_redact.py").write_text("raise RuntimeError('broken on purpose')\n")
    done = benchmark(*MINIMAL, "--against", checkout)
    assert done.returncode == 1
    assert "failed: warm, against: broken on purpose" in done.stdout
    assert "embedded" in done.stdout


@pytest.mark.full  # A minute.
def test_outputs_and_the_queue(tmp_path: Path) -> None:
    """With a single run, of which there is no spread."""
    figures_file = tmp_path / "figures.json"
    done = benchmark("--only", "outputs,queue", "--runs", "1", "--json", figures_file)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(figures_file.read_text())
    cases = figures["outputs"]["cases"]
    assert cases.keys() == {"photo-1024", "photo-1024-batch4", "upload-4"}
    assert all(len(case[lane]["ms"]) == 1 for case in cases.values() for lane in ("worker", "other"))
    assert figures["outputs"]["peak_rss_mb"] > 50
    pauses = figures["queue"]["pauses"]
    assert [len(each["ms"]) for each in pauses.values()] == [5, 5, 5]
    assert pauses["RunPod's loop"]["median"] > pauses["worker, 1 at once"]["median"]
    assert "RunPod's uploader" in done.stdout
    assert "worker, 2 at once" in done.stdout


@pytest.mark.full  # Four starts, and two models.
def test_models_on_a_slow_volume(tmp_path: Path) -> None:
    """With small models and a single turn, whose ratios say nothing."""
    (tmp_path / "base").mkdir()
    settings = load_settings()
    setup = Setup(settings, find_source(settings.comfyui_path, tmp_path / "base"), None, tmp_path)
    plan = Plan(("embedded",), ("start",), tuple(BUILT_IN.values()), Counts(1, 1, 1, 1), setup, Progress())
    assert plan.measures_volume
    (waits,) = measure_slow_volume(plan, (CHECKPOINT, "checkpoints/other.safetensors"))
    assert plan.failures == []
    figures = make_figures(plan, Measured(waits=waits))
    lanes = {"start-slow-volume", "later-slow-volume"} if waits.seconds.keys() - {LOCAL, LOCAL_LATER} else set()
    assert figures["ratios"].keys() == lanes | {LOCAL, LOCAL_LATER}
    assert all(len(sides[side]["values"]) == 1 for sides in figures["lanes"].values() for side in ("embedded", "other"))
    assert "MODEL_READAHEAD=off" in report(figures)


def test_a_workflow_that_fails_is_named(tmp_path: Path) -> None:
    graph = solid()
    graph["2"]["class_type"] = "NoSuchNode"
    (tmp_path / "broken.json").write_text(json.dumps(graph))
    (tmp_path / "base").mkdir()
    done = benchmark(*MINIMAL, "--workflow", tmp_path / "broken.json", COMFY_BASE_DIR=str(tmp_path / "base"))
    assert done.returncode == 1
    assert "failed: broken, embedded: " in done.stdout
    assert "NoSuchNode" in done.stdout
    assert "empty-64" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--backend", "other"), "other is none of embedded, websocket"),
        (("--only", "cold"), "cold is none of start, warm, memory"),
        (("--case", "none"), "none is none of empty-64"),
        (("--runs", "0"), "'0' is no whole number above 0"),
        (("--workflow", "missing.json"), "missing.json cannot be read"),
        (("--known-worker", "missing"), "there is no handler.py"),
        (("--json", "missing/figures.json"), "there is no such folder"),
        (("--against", "tests"), "--against tests: no checkout of this project, it has no worker/__init__.py"),
        (("--against-env", "A=b"), "--against-env needs --against"),
        (("--against", ".", "--against-env", "A"), "'A' is no NAME=VALUE"),
        (("--against", ".", "--backend", "websocket"), "compared with embedded, which --backend leaves out"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: tuple[str, ...], text: str) -> None:
    done = benchmark(*arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_without_comfyui_it_says_so(tmp_path: Path) -> None:
    done = benchmark(*MINIMAL, COMFYUI_PATH=str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("benchmark: COMFYUI_PATH=")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_no_child_outlives_it(number: signal.Signals, code: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [ROOT / "scripts" / "benchmark", *MINIMAL],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs these tests in the background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    while "starting" not in process.stderr.readline():
        assert process.poll() is None
    give_up = time.monotonic() + 30
    while not (children := psutil.Process(process.pid).children(recursive=True)):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(30) == code
    assert psutil.wait_procs(children, timeout=20)[1] == []


def test_what_was_measured_is_reported_when_it_is_stopped(tmp_path: Path) -> None:
    """The second case takes long enough to be stopped in it."""
    file = tmp_path / "figures.json"
    arguments = ["--backend", "embedded", "--only", "warm", "--case", "empty-64,photo-1024-batch4", "--runs", "300"]
    process = subprocess.Popen(
        [ROOT / "scripts" / "benchmark", *arguments, "--json", file, "--plot", tmp_path / "plots"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + 150
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert json.loads(file.read_text())["warm"].keys() == {"empty-64"}, "it is written after each case"
    process.send_signal(signal.SIGTERM)
    printed, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "benchmark: interrupted; what was measured until then stands above"
    assert re.search(r"^empty-64 +embedded ", printed, re.MULTILINE)
    assert "stopped early: what was not measured by then is missing" in printed
    figures = json.loads(file.read_text())
    assert (figures["complete"], figures["warm"].keys()) == (False, {"empty-64"})
    assert len(figures["warm"]["empty-64"]["embedded"]["ms"]) == 300
    assert (tmp_path / "plots" / "latency.png").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_it_says_how_long_it_takes(tmp_path: Path) -> None:
    source = ComfySource(tmp_path, tmp_path, "1.2.3", "COMFYUI_PATH")
    setup = Setup(load_settings(), source, None, tmp_path)
    own = file_cases([ROOT / "examples" / "landscape.json"])

    def plan(phases: tuple[str, ...], *arguments: str, more: tuple[Case, ...] = ()) -> Plan:
        cases = (*BUILT_IN.values(), *more)
        both = ("embedded", "websocket")
        return Plan(both, phases, cases, counts(parse("", arguments)), setup, Progress())

    quick, default = plan(("start", "warm", "memory"), "--quick"), plan(("start", "warm", "memory"))
    assert 60 < seconds(quick) < 300, "within five minutes, says the documentation"
    assert seconds(default) > 2 * seconds(quick)
    assert seconds(plan(PHASES)) > seconds(default)
    assert about(quick) == f"this takes about {seconds(quick) / 60:.0f} minutes on two cores without a GPU"
    assert about(plan(("warm",), more=tuple(own))).endswith(", and what landscape takes")


def test_spread_and_ratio() -> None:
    assert vars(spread([1, 2, 3, 4, 100])) == {"median": 3, "p95": pytest.approx(80.8), "minimum": 1}
    assert difference([3, 5, 9], [1, 2, 3]) == Estimate(3, (2, 6))
    clear = ratio([1.0, 1.1, 0.9, 1.0, 1.05], [2.0] * 5)
    assert clear.median == 0.5
    assert clear.interval is not None
    assert 0.45 <= clear.interval[0] <= 0.5 <= clear.interval[1] <= 0.55
    assert not clear.is_noisy
    assert clear == ratio([1.0, 1.1, 0.9, 1.0, 1.05], [2.0] * 5)
    assert ratio([1.0, 1.01, 0.99, 1.0], [1.0] * 4).is_noisy  # 1 lies in the interval.
    assert ratio([1.0, 2.0, 4.0], [8.0] * 3).is_noisy  # The interval is wide.
    assert ratio([1.0, 1.0], [2.0, 2.0]) == Ratio(0.5, None)
    assert ratio([1.0, 1.0], [2.0, 2.0]).is_noisy


@pytest.mark.parametrize(
    ("ours", "before", "is_within", "is_sure"),
    [
        ([100.0] * 5, [100.0] * 5, True, True),
        ([104.0] * 5, [100.0] * 5, True, True),
        ([106.0] * 5, [100.0] * 5, False, True),
        ([1.25] * 5, [1.0] * 5, True, True),  # A quarter more, but of a millisecond.
        ([104.0, 103.0, 120.0, 104.0, 130.0], [100.0] * 5, True, False),
        ([104.0, 103.0, 107.0, 120.0, 130.0], [100.0] * 5, False, False),
        ([100.0] * 2, [100.0] * 2, True, False),
    ],
)
def test_the_verdict_on_a_change(ours: list[float], before: list[float], is_within: bool, is_sure: bool) -> None:
    change = Change(ratio(ours, before), difference(ours, before))
    assert (change.is_within, change.is_sure) == (is_within, is_sure)


def test_every_run_differs() -> None:
    for case in BUILT_IN.values():
        requests = [case.request(number, 0) for number in (1, 2)]
        assert (requests[0] != requests[1]) == case.is_varied
    graph = text_to_image(seed=5)
    assert with_seed(graph, 3)["3"]["inputs"]["seed"] == 8
    assert graph["3"]["inputs"]["seed"] == 5


def test_workflow_files_become_cases(tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b" / "a.json"]
    files[1].parent.mkdir()
    files[0].write_text(json.dumps(solid()))
    image = {"name": "in.png", "image": "AAAA"}
    files[1].write_text(json.dumps({"input": {"workflow": text_to_image(), "images": [image]}}))
    plain, seeded = file_cases(files)
    assert (plain.name, plain.is_varied) == ("a", False)
    assert (seeded.name, seeded.is_varied) == ("a-2", True)
    assert seeded.request(1, 0)["images"] == [image]


def test_a_workflow_of_the_editor_becomes_a_case_with_a_seed(
    tmp_path: Path, as_client: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in as_client.items():
        monkeypatch.setenv(name, value)
    sampler = {"id": 3, "type": "KSampler", "inputs": [], "outputs": [],
               "widgets_values": [7, "randomize", 2, 4, "euler", "normal", 1]}  # fmt: skip
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"nodes": [sampler], "links": []}))
    (case,) = file_cases([path])
    assert case.is_varied
    assert case.request(3, 0)["workflow"]["3"]["inputs"]["seed"] == 10
    sampler["type"] = "NoSuchClass"
    path.write_text(json.dumps({"nodes": [sampler], "links": []}))
    with pytest.raises(InvalidJob, match="Node 3"):
        file_cases([path])


def test_gpu_samples() -> None:
    sample = parse_sample("1000, 50\n", 1.0)
    assert sample is not None
    assert (sample.at, sample.load) == (1.0, 0.5)
    assert sample.used_mb == pytest.approx(1048.576)
    assert parse_sample("[N/A], [N/A]\n", 1.0) is None
    assert parse_sample("No devices were found\n", 1.0) is None
    assert gpu_use([]) is None
    use = gpu_use([GpuSample(0.0, 100, 1.0), GpuSample(1.0, 300, 0.5), GpuSample(2.0, 200, 1.0)])
    assert use is not None
    assert (use.peak_mb, use.busy_s) == (300, 1.5)


def test_nvidia_smi_is_read_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '500, 10'\necho '700, 20'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with GpuWatch() as watch:
        give_up = time.monotonic() + 10
        while (use := watch.use(0)) is None or use.peak_mb < 700:
            assert time.monotonic() < give_up
            time.sleep(0.01)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with GpuWatch() as watch:
        assert watch.use(0) is None


def test_memory_counts_children() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait"], start_new_session=True) as process:
        give_up = time.monotonic() + 10
        while not psutil.Process(process.pid).children():
            assert time.monotonic() < give_up
        taken = sample_memory({"worker": process.pid, "server": 2**22 + 1})
        alone = psutil.Process(process.pid).memory_info().rss / 1e6
        os.killpg(process.pid, signal.SIGKILL)
    assert taken.rss["worker"] >= alone > 0  # The child may share all of its pages with the shell.
    assert 0 < taken.pss["worker"] <= taken.rss["worker"]
    assert taken.rss["server"] == 0


def run(milliseconds: float) -> Run:
    """A run of one picture."""
    return Run(milliseconds, request_bytes=200, answer_bytes=3000, loopback_bytes=5000, images=1, files=1)


def test_a_comparison_is_reported_and_drawn(tmp_path: Path) -> None:
    cases = (BUILT_IN["empty-64"], BUILT_IN["repeat"])
    source = ComfySource(tmp_path, tmp_path, "1.2.3", "COMFYUI_PATH")
    setup = Setup(load_settings(), source, None, tmp_path, known=tmp_path, against=tmp_path)
    failures = [("repeat", "known", "it ended with 1")]
    plan = Plan(("embedded", "websocket"), PHASES, cases, Counts(4, 3, 2, 1), setup, Progress(), failures)
    assert plan.contenders == ("embedded", "against", "websocket", "known")
    steps = {"interpreter": 0.1, "worker": 0.9, "rest": 0.0}
    starts = {
        "embedded": [Start(6.0, steps | {"torch": 2.0, "core": 2.0, "nodes": 1.0}, 1000, 6.5)] * 3,
        "websocket": [Start(12.0, {"server": 11.0, "handler": 0.0, "first result": 1.0}, 2000, 13)] * 3,
        "known": [Start(8.0, {"server": 8.0}, 1500, 9)] * 3,
    }
    starts["against"] = [Start(4.0, steps | {"rest": 2.5}, 2000, 5.0)] * 2
    ends = {"embedded": [0.2] * 3, "against": [2.0] * 3}
    times = {"embedded": 5, "against": 4, "websocket": 10, "known": 20, "bare": 2}
    warm = {
        "empty-64": {name: [run(each)] * 4 for name, each in times.items()},
        "repeat": {"embedded": [run(9), run(10), run(11), run(10)], "websocket": [run(10)] * 4},
    }
    memory = {
        "embedded": Memory(900, 880, {"worker": 1000}, {"worker": 990}, GpuUse(5000, 2.5), 1000),
        "websocket": Memory(950, 930, {"server": 1000, "worker": 100}, {"server": 990, "worker": 110}, None, None),
    }
    outputs = Outputs({"upload-4": {"worker": [10.0], "other": [40.0]}}, 30e6, 20_000_000)
    queue = Queue(0.05, {"worker, 1 at once": [0.052, 0.053, 0.049]})
    figures = json.loads(json.dumps(make_figures(plan, Measured(starts, warm, memory, outputs, queue, run_ends=ends))))
    lanes = {
        "start-empty-64": 1.5,
        "start-txt2img-tiny": 1.3,
        "start-memory": 0.5,
        "run-end": 0.1,
        "start-vs-known": 0.75,
    }
    assert figures["ratios"] == {"empty-64": 0.5, "repeat": 1.0, "start": 0.5, "memory": 0.9, **lanes}
    assert figures["intervals"]["empty-64"] == [0.5, 0.5]
    assert figures["noisy"] == ["repeat", "start-empty-64", "start-txt2img-tiny", "start-memory"]
    assert figures["ratios_known"] == {"empty-64": 0.25, "start": 0.75}
    assert figures["warm"]["empty-64"]["websocket"]["overhead_ms"] == 8
    assert figures["warm"]["empty-64"]["websocket"]["images_per_s"] == 100
    assert figures["memory"]["embedded"]["gpu"] == {"peak_mb": 5000, "before_mb": 1000, "busy_s": 2.5}
    assert figures["ratios_against"] == {"empty-64": 1.25, "start": 1.5}
    assert figures["changes"]["empty-64"] == {
        "difference_ms": 1, "interval_ms": [1, 1], "is_within": False, "is_sure": True,
    }  # fmt: skip
    assert figures["changes"]["start"] == {"difference_ms": 2000, "interval_ms": None}
    assert figures["outputs"]["cases"]["upload-4"]["ratio"] == 0.25
    assert figures["queue"]["pauses"]["worker, 1 at once"]["median"] == pytest.approx(2)
    text = report(figures)
    assert re.search(r"^empty-64 +1\.25 +\(1\.25–1\.25\) +\+1\.00 +SLOWER$", text, re.MULTILINE)
    assert "peak RSS above idle: 30 MB for a tensor of 20 MB, 1.50 times as much" in text
    assert "too noisy to tell who is ahead: repeat" in text
    assert re.search(r"^embedded +6\.00 +6\.00 +6\.50 +1000 +0\.20 +interpreter 0\.1, worker 0\.9", text, re.MULTILINE)
    assert re.search(r"^run-end +0\.20 +2\.00 +against +0\.10 ", text, re.MULTILINE)
    assert "failed: repeat, known worker: it ended with 1" in text
    assert [path.name for path in draw(figures, tmp_path)] == ["latency.png", "start.png", "memory.png"]


def test_the_schema_is_documented() -> None:
    documented = (ROOT / "docs" / "performance.md").read_text()
    phases = ("start", "warm", "memory", "outputs", "queue")
    others = ("schema", "complete", "machine", "versions", "settings", "failures", "changes", "lanes", *START_LANES)
    for key in (*phases, *others, "ratios", "intervals", "noisy", "ratios_known", "ratios_against", *BUILT_IN):
        assert f"`{key}`" in documented, key


@pytest.mark.parametrize("name", REAL)
def test_a_case_of_real_size_names_its_models(name: str) -> None:
    case = REAL[name]
    graph, other = case.request(1, 0)["workflow"], case.request(2, 0)["workflow"]
    texts = [value for node in graph.values() for value in node["inputs"].values() if isinstance(value, str)]
    assert {text for text in texts if text.endswith(".safetensors")} == {Path(model).name for model in case.models}
    links = [value[0] for node in graph.values() for value in node["inputs"].values() if isinstance(value, list)]
    assert set(links) <= set(graph)
    assert graph != other, "another seed"


def test_models_of_real_size_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in REAL["sd15-512"].models:  # It is there, so it is not made.
        (kept_models() / name).parent.mkdir(parents=True)
        (kept_models() / name).write_bytes(b"kept")
    make_real_models(tmp_path / "models", [CHECKPOINT, *REAL["sd15-512"].models])
    assert [(tmp_path / "models" / name).read_bytes() for name in REAL["sd15-512"].models] == [b"kept"]


@pytest.mark.full
def test_a_checkpoint_of_real_size_makes_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A small one, with one step: the weights have 2 GB."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make_real_models(tmp_path / "base" / "models", REAL["sd15-512"].models)
    graph = REAL["sd15-512"].request(1, 0)["workflow"]
    graph["latent"]["inputs"] |= {"width": 64, "height": 64}
    graph["sampled"]["inputs"]["steps"] = 1
    (tmp_path / "small.json").write_text(json.dumps(graph))
    ran = command("run", tmp_path / "small.json", "--out", tmp_path / "out", COMFY_BASE_DIR=str(tmp_path / "base"))
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / "out").iterdir())) == 1
