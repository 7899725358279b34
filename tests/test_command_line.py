"""``python -m worker`` as a user meets it: a process of its own, exit codes, messages, files."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import graphs
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rich.console import Console

from worker.cli.progress_bar import TerminalProgress
from worker.events import NodeProgress, NodesCached, NodeStarted, Notice, PromptEnded, PromptStarted

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def write(path: Path, content: object) -> Path:
    """``content`` as JSON in ``path``."""
    path.write_text(json.dumps(content))
    return path


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below ``folder``."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_help_is_quick_and_teaches(command: Command) -> None:
    start = time.perf_counter()
    answer = command("--help")
    assert time.perf_counter() - start < 5, "nothing heavy is imported for this"
    assert answer.returncode == 0
    assert "exit codes:" in answer.stdout
    assert "--set 3.seed=42" in command("run", "--help").stdout
    assert "--test_input" in command("serve", "--help").stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from worker.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'pydantic', 'rich', 'PIL', 'runpod', 'boto3'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/such.json"], "no/such.json cannot be read"),
        (["{readme}"], "is no JSON"),
        (["{ui}"], "export it with Workflow > Export (API)"),
        (["{graph}", "--set", "1.width"], "it takes NODE.INPUT=VALUE"),
        (["{graph}", "--set", "8.width=1"], "there is no node '8'; the workflow has 1 (EmptyImage), 2 (SaveImage)"),
        (["{graph}", "--set", "1.widht=1"], "node 1 (EmptyImage) has no input 'widht'; it has width, height"),
        (["{graph}", "--image", "a.png=/no/such.png"], "image 'a.png': /no/such.png cannot be read"),
        (["{graph}", "--out", "{graph}"], "cannot be written"),
        (["{graph}", "--set", "1.color=" + "[" * 9000, "--out", "{graph}"], "cannot be written"),
        (["{graph}", "--image", "../a.png={graph}"], "must not contain '..'"),
    ],
)
def test_mistakes_cost_no_start(
    command: Command, project: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    names = {
        "graph": write(tmp_path / "graph.json", graphs.solid()),
        "ui": write(tmp_path / "ui.json", {"nodes": [], "links": []}),
        "readme": project / "LICENSE",
    }
    answer = command("run", *(argument.format(**names) for argument in arguments), timeout=20)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MAX_INPUT_MB": "inf"}, "MAX_INPUT_MB='inf' cannot be read: it takes a number above 0"),
        ({"COMFY_ARGS": "--help"}, "COMFY_ARGS: "),
        ({"MAX_INPUT_MB": "abc"}, "MAX_INPUT_MB='abc' cannot be read: it takes a number above 0"),
        ({"COMFYUI_PATH": "/no/such/tree"}, "COMFYUI_PATH='/no/such/tree' is no ComfyUI"),
        ({"COMFY_BASE_DIR": "/no/such/base"}, "COMFY_BASE_DIR='/no/such/base' is no folder"),
        ({"COMFY_ARGS": "--nonsense"}, "COMFY_ARGS: unrecognized arguments: --nonsense"),
        ({"COMFY_ARGS": "--output-directory /x"}, "COMFY_ARGS: --output-directory is set by the worker"),
        ({"COMFY_ARGS": "--temp-directory=/x"}, "COMFY_ARGS: --temp-directory is set by the worker"),
    ],
)
@pytest.mark.parametrize("name", ["check", "run"])
def test_a_start_that_fails_says_why_in_one_line(
    command: Command, tmp_path: Path, name: str, environment: dict[str, str], message: str
) -> None:
    arguments = ["run", write(tmp_path / "g.json", graphs.solid())] if name == "run" else ["check"]
    answer = command(*arguments, **environment)
    assert answer.returncode == 3
    assert answer.stderr.splitlines()[-1].startswith(f"worker: {message}")
    assert "Traceback" not in answer.stderr


def test_a_pod_without_a_gpu_refuses_at_once(command: Command) -> None:
    from worker.embedded.start.device import cuda_device_count

    if cuda_device_count():
        pytest.skip("this machine has a CUDA device")
    start = time.perf_counter()
    answer = command("check", RUNPOD_POD_ID="pod-1")
    assert answer.returncode == 3
    assert time.perf_counter() - start < 5, "it costs no import of torch"
    assert "worker: GPU is not available" in answer.stderr
    assert command("check", RUNPOD_POD_ID="pod-1", COMFY_ARGS="--cpu").returncode == 0


def test_check_shows_everything_and_writes_nothing_into_the_tree(command: Command, base_dir: Path) -> None:
    from worker.embedded.start.source import find_source
    from worker.settings import load_settings

    tree = find_source(load_settings().comfyui_path, base_dir).path
    before = snapshot(tree)
    answer = command("check", COMFY_ORG_API_KEY="sk-hidden")
    assert answer.returncode == 0, answer.stderr
    for text in (
        "COMFY_LOG_LEVEL",
        str(tree),
        "torch:",
        "Device:",
        "RAM:",
        "checkpoints",
        "test_nodes",
        "A job can run",
    ):
        assert text in answer.stdout
    assert "sk-hidden" not in answer.stdout + answer.stderr
    assert snapshot(tree) == before


def test_check_reports_a_pack_that_fails_and_goes_on(command: Command, tmp_path: Path) -> None:
    for name, code in {
        "raises": "raise RuntimeError('this pack needs foo 2.0')",
        "exits": "import sys; sys.exit(3)",
        "empty": "",
        "good": "NODE_CLASS_MAPPINGS = {}",
    }.items():
        (tmp_path / "custom_nodes" / name).mkdir(parents=True)
        (tmp_path / "custom_nodes" / name / "__init__.py").write_text(code)
    answer = command("check", COMFY_BASE_DIR=str(tmp_path), COLUMNS="200")
    assert answer.returncode == 0, answer.stderr
    rows = {line.split()[0]: line for line in answer.stdout.splitlines() if " s " in line and "│" in line}
    assert "FAILED: " in rows["raises"]
    assert "this pack needs foo 2.0" in answer.stdout
    assert "sys.exit(3)" in answer.stdout
    assert "FAILED: " in rows["empty"]
    assert "FAILED" not in rows["good"]


def test_run_writes_files_and_tells_where(command: Command, tmp_path: Path, png: Callable[..., bytes]) -> None:
    (tmp_path / "photo.png").write_bytes(png("#203040", (12, 8)))
    graph = graphs.load("photo.png") | {"3": graphs.node("TestShowsText", text="x")}
    graph["3"]["_meta"] = {"title": "The text"}
    answer = command(
        "run", write(tmp_path / "g.json", graph), "--image", tmp_path / "photo.png", "--out", tmp_path / "out",
        "--set", "The text.text=hello", "--set", '2.filename_prefix="sub/pic"', "--json",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert (told["status"], told["errors"]) == ("success", [])
    assert told["text"] == [{"node_id": "3", "text": "hello"}]
    assert [entry["path"] for entry in told["files"]] == [str(tmp_path / "out" / "sub" / "pic_00001_.png")]
    assert Image.open(told["files"][0]["path"]).getpixel((0, 0)) == (32, 48, 64)
    assert set(told["seconds"]) == {"start", "stage", "run", "collect"}


def test_run_takes_a_request_and_a_picture(command: Command, tmp_path: Path, png: Callable[..., bytes]) -> None:
    image = base64.b64encode(png("#010203")).decode()
    request = {"input": {"workflow": graphs.load("in.png"), "images": [{"name": "in.png", "image": image}]}}
    answer = command("run", write(tmp_path / "request.json", request), "--out", tmp_path, SAVE_METADATA="true")
    assert answer.returncode == 0, answer.stderr
    picture = Path(answer.stdout.strip())
    assert json.loads(Image.open(picture).info["prompt"])["1"]["inputs"]["image"] == "in.png"

    metadata = PngInfo()
    metadata.add_text("prompt", json.dumps(graphs.solid(0x0000FF)))
    Image.new("RGB", (4, 4)).save(tmp_path / "made.png", pnginfo=metadata)
    answer = command("run", tmp_path / "made.png", "--out", tmp_path / "second")
    assert answer.returncode == 0, answer.stderr
    assert Image.open(answer.stdout.strip()).getpixel((0, 0)) == (0, 0, 255)
    assert "run " in answer.stderr


def test_a_failed_run_has_its_exit_code(command: Command, tmp_path: Path) -> None:
    answer = command("run", write(tmp_path / "g.json", graphs.through("TestRaises")), "--out", tmp_path, "--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["errors"][0].startswith("Workflow execution error: Node Type: TestRaises")
    answer = command("run", write(tmp_path / "g.json", {"1": graphs.node("Nope")}), "--json")
    assert answer.returncode == 2
    assert json.loads(answer.stdout)["error_type"] == "workflow_validation"
    assert "Traceback" not in answer.stderr


def test_ctrl_c_stops_a_run_in_a_terminal(project: Path, base_dir: Path, tmp_path: Path) -> None:
    graph = write(tmp_path / "g.json", graphs.through("TestSleeps", steps=5000))
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "run", graph, "--out", tmp_path],
        cwd=project,
        env=os.environ | {"COMFY_BASE_DIR": str(base_dir), "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        # A shell that runs these tests in the background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(terminal)
    seen = b""
    while b"/5000" not in seen:  # The bar of the node's steps.
        seen += os.read(controller, 65536)
    assert b"TestSleeps (3)" in seen
    process.send_signal(signal.SIGINT)
    start = time.perf_counter()
    try:
        while chunk := os.read(controller, 65536):
            seen += chunk
    except OSError:  # The terminal's other end is closed: the process has ended.
        pass
    assert process.wait(30) == 130, seen[-2000:]
    assert time.perf_counter() - start < 10
    os.close(controller)
    assert seen.rstrip().endswith(b"worker: interrupted")
    assert b"Traceback" not in seen
    assert not list(tmp_path.glob("*.png"))


def test_a_file_that_comfyui_misses_is_named(command: Command) -> None:
    answer = command("check", COMFY_ARGS="--extra-model-paths-config /nowhere.yaml")
    assert answer.returncode == 1
    assert "worker: /nowhere.yaml: No such file or directory" in answer.stderr


def test_an_output_that_is_gone_is_told(project: Path, base_dir: Path, tmp_path: Path) -> None:
    graph = write(tmp_path / "g.json", graphs.solid())
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "worker", "run", graph, "--out", tmp_path / "out"],
            cwd=project, env=os.environ | {"COMFY_BASE_DIR": str(base_dir)}, stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert answer.returncode == 1
    assert "the output cannot be written" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_killed_worker_leaves_no_model_in_memory_for_ever(command: Command, tmp_path: Path) -> None:
    """What SIGKILL leaves behind is swept by the next start; see the workspace's own tests for when."""
    assert command("check", WORKER_STATE_DIR=str(tmp_path)).returncode == 0
    assert not list(tmp_path.iterdir())


def test_the_bar_counts_nodes_and_steps() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    with TerminalProgress(console) as progress:
        progress.say(Notice("importing nodes"))
        progress.say(Notice("no device", is_warning=True))
        for event in (
            PromptStarted("p", 4),
            NodesCached(("1",)),
            NodeStarted("2", "2", "KSampler"),
            NodeProgress("2", 7, 20),
        ):
            progress(event)
        progress._progress.refresh()
        text = screen.getvalue()
        progress(PromptEnded("p", "success"))
    assert "warning: no device" in text
    assert "KSampler (2)" in text
    assert "7/20" in text
    assert "1/4" in text
