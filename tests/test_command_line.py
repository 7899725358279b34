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

from worker import Worker
from worker.__main__ import main
from worker.events import NodeProgress, NodesCached, NodeStarted, Notice, PromptEnded, PromptStarted
from worker.progress.terminal import TerminalProgress

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def write(path: Path, content: object) -> Path:
    """``content`` as JSON in ``path``."""
    path.write_text(json.dumps(content))
    return path


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
        (["{ui}"], "'workflow' has no nodes"),
        (["{graph}", "--set", "1.width"], "it takes NODE.INPUT=VALUE"),
        (["{graph}", "--set", "8.width=1"], "there is no node '8'; the workflow has 1 (EmptyImage), 2 (SaveImage)"),
        (["{graph}", "--image", "a.png=/no/such.png"], "image 'a.png': /no/such.png cannot be read"),
        (["{graph}", "--out", "{graph}"], "cannot be written"),
        (["{graph}", "--set", "1.color=" + "[" * 9000, "--out", "{graph}"], "cannot be written"),
        (["{graph}", "--image", "../a.png={graph}"], "must not contain '..'"),
    ],
)
def test_mistakes_cost_no_start(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    def start(_: Worker) -> Worker:
        raise AssertionError("ComfyUI is started")

    monkeypatch.setattr(Worker, "start", start)
    names = {
        "graph": write(tmp_path / "graph.json", graphs.solid()),
        "ui": write(tmp_path / "ui.json", {"nodes": [], "links": []}),
        "readme": project / "LICENSE",
    }
    assert main(["run", *(argument.format(**names) for argument in arguments)]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


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
def test_a_start_that_fails_says_why_in_one_line(command: Command, environment: dict[str, str], message: str) -> None:
    answer = command("check", **environment)
    assert_it_says_why(answer, message)


def test_a_run_whose_start_fails_says_why_in_one_line(command: Command, tmp_path: Path) -> None:
    answer = command("run", write(tmp_path / "g.json", graphs.solid()), COMFY_ARGS="--nonsense")
    assert_it_says_why(answer, "COMFY_ARGS: unrecognized arguments: --nonsense")


def assert_it_says_why(answer: subprocess.CompletedProcess[str], message: str) -> None:
    """See that the start failed with ``message`` as the last line."""
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


def test_run_writes_files_and_tells_where(
    command: Command, as_client: dict[str, str], tmp_path: Path, png: Callable[..., bytes]
) -> None:
    (tmp_path / "photo.png").write_bytes(png("#203040", (12, 8)))
    graph = graphs.load("photo.png") | {"3": graphs.node("TestShowsText", text="x")}
    graph["3"]["_meta"] = {"title": "The text"}
    answer = command(
        "run", write(tmp_path / "g.json", graph), "--image", tmp_path / "photo.png", "--out", tmp_path / "out",
        "--set", "The text.text=hello", "--set", '2.filename_prefix="sub/pic"', "--json", **as_client,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert (told["status"], told["errors"]) == ("success", [])
    assert told["text"] == [{"node_id": "3", "text": "hello"}]
    assert [entry["path"] for entry in told["files"]] == [str(tmp_path / "out" / "sub" / "pic_00001_.png")]
    assert Image.open(told["files"][0]["path"]).getpixel((0, 0)) == (32, 48, 64)
    assert set(told["seconds"]) == {"start", "stage", "run", "collect"}


def test_run_takes_a_request_and_a_picture(
    command: Command, as_client: dict[str, str], tmp_path: Path, png: Callable[..., bytes]
) -> None:
    image = base64.b64encode(png("#010203")).decode()
    request = {"input": {"workflow": graphs.load("in.png"), "images": [{"name": "in.png", "image": image}]}}
    answer = command("run", write(tmp_path / "request.json", request), "--out", tmp_path, SAVE_METADATA="true")
    assert answer.returncode == 0, answer.stderr
    picture = Path(answer.stdout.strip())
    assert json.loads(Image.open(picture).info["prompt"])["1"]["inputs"]["image"] == "in.png"

    metadata = PngInfo()
    metadata.add_text("prompt", json.dumps(graphs.solid(0x0000FF)))
    Image.new("RGB", (4, 4)).save(tmp_path / "made.png", pnginfo=metadata)
    answer = command("run", tmp_path / "made.png", "--out", tmp_path / "second", **as_client)
    assert answer.returncode == 0, answer.stderr
    assert Image.open(answer.stdout.strip()).getpixel((0, 0)) == (0, 0, 255)
    assert "run " in answer.stderr


def test_a_failed_run_has_its_exit_code(command: Command, as_client: dict[str, str], tmp_path: Path) -> None:
    raising = write(tmp_path / "g.json", graphs.through("TestRaises"))
    answer = command("run", raising, "--out", tmp_path, "--json", **as_client)
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["errors"][0].startswith("Workflow execution error: Node Type: TestRaises")
    answer = command("run", write(tmp_path / "g.json", {"1": graphs.node("Nope")}), "--json", **as_client)
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


def test_an_output_that_is_gone_is_told(project: Path, as_client: dict[str, str], tmp_path: Path) -> None:
    graph = write(tmp_path / "g.json", graphs.solid())
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "worker", "run", graph, "--out", tmp_path / "out"],
            cwd=project, env=os.environ | as_client, stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert answer.returncode == 1
    assert "the output cannot be written" in answer.stderr
    assert "Traceback" not in answer.stderr


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


def test_a_thread_of_a_node_does_not_keep_the_process(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(graphs.through("TestMisbehaves", deed="leaves_thread_that_stays")))
    done = command("run", path, "--out", tmp_path / "out", timeout=120)
    assert done.returncode == 0
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["ComfyUI_00001_.png"]
