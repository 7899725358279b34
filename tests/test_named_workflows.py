"""Workflows run by their names: those that the operator has put on the worker, and no other file."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import graphs
import pytest
import requests
from graphs import editors, node, titled
from jsonschema import Draft202012Validator
from local_api import get, post, serving
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import SecretStr

from worker import Worker
from worker.errors import InvalidJob, StartError
from worker.events import Notice
from worker.handler import make_handler
from worker.job.from_python import make_job
from worker.readiness import make_ready
from worker.workflows.folder import WorkflowFolder

BOTH = pytest.mark.backends("embedded", "websocket")
Command = Callable[..., "subprocess.CompletedProcess[str]"]
Ask = Callable[..., dict[str, Any]]


def write(path: Path, content: object) -> Path:
    """JSON, in a file that does not look as if it were still written."""
    path.write_text(json.dumps(content))
    past = time.time() - 60
    os.utime(path, (past, past))
    return path


@pytest.fixture
def folder(worker: Worker, tmp_path: Path) -> Iterator[Path]:
    """The folder of the worker's workflows, with three of them."""
    folder = tmp_path / "workflows"
    folder.mkdir()
    write(folder / "red.json", titled(graphs.solid(0xFF0000, 16, 16), n1="Canvas"))
    write(folder / "edited.json", editors())
    write(folder / "loads.json", titled(graphs.load("in.png"), n1="Load Image"))
    before, worker.workflows = worker.workflows, opened(worker, folder)
    yield folder
    worker.workflows = before


def opened(worker: Worker, folder: Path, **changes: Any) -> WorkflowFolder:
    return WorkflowFolder(worker.settings.model_copy(update={"workflows_dir": folder, **changes}))


@pytest.fixture
def ask(worker: Worker) -> Ask:
    """Gives an input to the handler."""
    handle = make_handler(worker)

    def ask(**job_input: Any) -> dict[str, Any]:
        return asyncio.run(handle({"id": "job-1", "input": job_input}))

    return ask


def pixel(answer: dict[str, Any]) -> tuple[int, ...]:
    """The first pixel of the only picture."""
    assert len(answer.get("images", ())) == 1, answer
    data = base64.b64decode(answer["images"][0]["data"])
    with Image.open(io.BytesIO(data)) as picture:
        return tuple(picture.convert("RGB").getpixel((0, 0)))  # type: ignore[arg-type]


@BOTH
def test_a_workflow_runs_by_its_name(worker: Worker, folder: Path, ask: Ask, png: Callable[..., bytes]) -> None:
    assert pixel(ask(workflow="red")) == (255, 0, 0)
    assert pixel(ask(workflow="red", set={"Canvas.color": 0x00FF00})) == (0, 255, 0)
    assert pixel(ask(workflow="red")) == (255, 0, 0), "the file's own values are still there"
    assert pixel(ask(workflow="edited", set={"Canvas.color": 0x0000FF, "2.filename_prefix": "b"})) == (0, 0, 255)
    picture = base64.b64encode(png("#102030")).decode()
    sent = ask(
        workflow="loads", set={"Load Image.image": "other.png"}, images=[{"name": "other.png", "image": picture}]
    )
    assert pixel(sent) == (0x10, 0x20, 0x30)
    with pytest.raises(InvalidJob, match="There is no workflow 'blue' here; there are 'edited', 'loads', 'red'"):
        worker.run({"workflow": "blue"})


def test_every_kind_of_file_has_a_name(worker: Worker, folder: Path, ask: Ask) -> None:
    info = PngInfo()
    info.add_text("prompt", json.dumps(graphs.solid(0x00FF00)))
    Image.new("RGB", (4, 4)).save(folder / "picture.png", pnginfo=info)
    write(folder / "request.json", {"input": {"workflow": graphs.solid(0xFF), "output_format": "webp"}})
    preset = {"workflow": graphs.solid(), "set": {"1.color": 0xFFFF, "1.width": 8}, "timeout_s": 99}
    write(folder / "preset.json", preset)
    write(folder / "grüße aus v1.5.json", graphs.solid())
    assert pixel(ask(workflow="picture")) == (0, 255, 0)
    assert ask(workflow="request")["images"][0]["media_type"] == "image/webp"
    assert ask(workflow="request", output_format="png")["images"][0]["media_type"] == "image/png"
    assert pixel(ask(workflow="preset")) == (0, 255, 255)
    assert pixel(ask(workflow="preset", set={"1.color": 0xFF0000})) == (255, 0, 0)
    assert pixel(ask(workflow="gru\u0308ße aus v1.5")) == (255, 0, 0), "letters may be decomposed"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Red", "There is no workflow 'Red' here; is 'red' meant?"),
        ("red.json", "There is no workflow 'red.json' here; is 'red' meant?"),
        ("../workflows/red", "here: a name is no path"),
        ("./red", "a name is no path"),
        ("/etc/passwd", "a name is no path"),
        ("a\\b", "a name is no path"),
        ("..", "There is no workflow '..' here"),
        ("red\0", "There is no workflow 'red\\x00' here; is 'red' meant?"),
        ("\udc80", "There is no workflow '\\udc80' here"),
        (".hidden", "There is no workflow '.hidden' here"),
        ("notes", "There is no workflow 'notes' here"),
        ("inner", "There is no workflow 'inner' here"),
        ("pipe", "There is no workflow 'pipe' here"),
        ('{"1": {}}', "'workflow' is a text that looks like JSON: send the graph itself"),
        ("broken", "The workflow 'broken' cannot run: its file is no JSON"),
        ("twice", "twice.json and twice.png have the same name"),
        ("another", "its file only names another workflow, 'red'"),
        ("empty", "'workflow' has no nodes"),
        ("x" * 250, "There is no workflow 'xxx"),
    ],
)
def test_no_other_file_can_be_named(worker: Worker, folder: Path, ask: Ask, name: str, text: str) -> None:
    write(folder / ".hidden.json", graphs.solid())
    write(folder / "notes.txt", graphs.solid())
    (folder / "inner.json").mkdir()
    write(folder / "inner.json" / "red.json", graphs.solid())
    os.mkfifo(folder / "pipe.json")
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "broken.json").write_text("{")
    for ending in ("json", "png"):
        write(folder / f"twice.{ending}", graphs.solid())
    write(folder / "another.json", {"workflow": "red"})
    write(folder / "empty.json", {"nodes": []})
    (folder / os.fsdecode(b"\x80.json")).write_text("{}")
    answer = ask(workflow=name)
    assert answer["error_type"] == "invalid_input"
    assert text in answer["error"]
    assert str(folder) not in answer["error"]
    assert len(answer["error"]) < 600


def test_a_file_that_changes_is_read_again(folder: Path, ask: Ask) -> None:
    assert pixel(ask(workflow="red")) == (255, 0, 0)
    write(folder / "red.json", graphs.solid(0x00FF00))
    assert pixel(ask(workflow="red")) == (0, 255, 0)
    (folder / "red.json").rename(folder / "green.json")
    assert pixel(ask(workflow="green")) == (0, 255, 0)
    assert "is 'green' meant" in ask(workflow="gren")["error"]
    assert "error" in ask(workflow="red")
    for color in (1, 2, 3):  # The clock of a file system may not tick between these.
        (folder / "quick.json").write_text(json.dumps(graphs.solid(color)))
        assert pixel(ask(workflow="quick")) == (0, 0, color)


def test_the_folder_of_the_operator_comes_before_the_volume(
    worker: Worker, folder: Path, tmp_path: Path, ask: Ask
) -> None:
    volume = tmp_path / "volume"
    (volume / "workflows").mkdir(parents=True)
    write(volume / "workflows" / "red.json", graphs.solid(0xFF))
    write(volume / "workflows" / "blue.json", graphs.solid(0xFF))
    worker.workflows = opened(worker, folder, network_volume_path=volume)
    assert worker.workflows.names() == ["blue", "edited", "loads", "red"]
    assert pixel(ask(workflow="red")) == (255, 0, 0)
    assert pixel(ask(workflow="blue")) == (0, 0, 255)


def test_a_worker_without_workflows_says_so(worker: Worker, tmp_path: Path, ask: Ask) -> None:
    before, worker.workflows = worker.workflows, opened(worker, tmp_path / "none", network_volume_path=tmp_path)
    try:
        assert "There is no workflow 'red' here: this worker has none." in ask(workflow="red")["error"]
        assert list(worker.workflows.remarks()) == [f"WORKFLOWS_DIR: there is no folder {tmp_path / 'none'}"]
    finally:
        worker.workflows = before


@BOTH
def test_nothing_else_may_be_run(worker: Worker, folder: Path) -> None:
    settings = worker.settings
    worker.settings = settings.model_copy(update={"workflows_only": True})
    handle = make_handler(worker)
    try:
        for given, text in (
            ({"workflow": graphs.solid()}, "This worker runs its own workflows only: 'workflow' takes the name of one"),
            ({"workflow": editors()}, "This worker runs its own workflows only"),
            ({"workflow": "red", "extra_data": {"extra_pnginfo": {"workflow": {}}}}, "takes no 'extra_pnginfo'"),
            ({"workflow": "red", "set": {"2.images": ["1", 0]}}, "images of node 2 (SaveImage) is linked to node 1"),
            ({"workflow": "red", "save_metadata": True}, "does not write its workflows into files"),
            ({"workflow": "red", "set": {"1.color": ["1", 0]}}, "takes values only, and no links"),
        ):
            answer = asyncio.run(handle({"id": "1", "input": given}))
            assert answer["error_type"] == "invalid_input"
            assert text in answer["error"]
        assert pixel(asyncio.run(handle({"id": "1", "input": {"workflow": "red"}}))) == (255, 0, 0)
        assert worker.run(graphs.solid()).errors == (), "the operator's own Python code may run what it likes"
    finally:
        worker.settings = settings


def test_what_a_caller_sets_stays_in_the_job(folder: Path, ask: Ask) -> None:
    secret = write(folder / "secret.png", {})
    for value in (str(secret), "../workflows/secret.png", "/etc/hostname", "a\0b"):
        answer = ask(workflow="loads", set={"1.image": value})
        assert answer["error_type"] == "workflow_validation", answer
    for value in ("/tmp/evil", "../../evil", str(folder / "evil")):
        answer = ask(workflow="red", set={"2.filename_prefix": value})
        assert not list(folder.glob("evil*"))
        assert not Path("/tmp/evil_00001_.png").exists()
        assert "error" in answer, answer


def test_texts_of_the_operator_are_not_shown_in_full(folder: Path, ask: Ask) -> None:
    write(folder / "names.json", graphs.load("/data/of/operator/in.png"))
    told = ask(workflow="names")["error"]
    assert "in.png" in told
    assert "/data/of" not in told
    edited = editors()
    edited["nodes"][0]["widgets_values"][0] = "/data/of/operator/width"
    write(folder / "misfit.json", edited)
    told = ask(workflow="misfit")["error"]
    assert "width" in told
    assert "/data/of" not in told
    told = ask(workflow="names", set={"1.image": "/home/caller/x.png"})["error"]
    assert "/home/caller/x.png" in told, "what the caller has written is shown as it was written"


def test_the_start_warns_of_a_damaged_file(worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "broken.json").write_text("{")
    said: list[Notice] = []
    monkeypatch.setattr(worker, "say", said.append)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    make_ready(worker)
    end = time.monotonic() + 10
    while not said and time.monotonic() < end:
        time.sleep(0.02)
    assert [notice.is_warning for notice in said] == [True]
    assert said[0].text.startswith("The workflow 'broken' cannot run: its file is no JSON")


def test_a_name_can_be_the_warm_up(worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Notice] = []
    monkeypatch.setattr(worker, "say", said.append)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    for name, problem in (("red", None), ("rad", "WARMUP_WORKFLOW: There is no workflow 'rad' here; is 'red' meant?")):
        monkeypatch.setattr(worker, "settings", worker.settings.model_copy(update={"warmup_workflow": Path(name)}))
        with pytest.raises(StartError, match=problem) if problem else contextlib.nullcontext():
            make_ready(worker)
    assert any(str(notice).startswith("warmed up in") for notice in said)


def test_python_and_a_path_that_is_there(
    worker: Worker, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert worker.run("red").images[0].getpixel((0, 0)) == (255, 0, 0)
    write(tmp_path / "red", graphs.solid(0xFF))
    assert worker.run("red").images[0].getpixel((0, 0)) == (0, 0, 255), "a file of this name comes first"
    with pytest.raises(InvalidJob, match="no/red cannot be read"):
        worker.run("no/red")
    for name, text in (("rad", "here; is 'red' meant"), ("x" * 5000, "a name has up to 250"), ("a\0b", "no workflow")):
        with pytest.raises(InvalidJob, match=text):
            worker.run(name)


@pytest.fixture(scope="module")
def schema(project: Path) -> Callable[[str, Any], Any]:
    """Holds an answer against one of the published schemas."""
    components = json.loads((project / "docs" / "openapi.json").read_text())["components"]

    def check(name: str, answer: Any) -> Any:
        Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components}).validate(answer)
        return answer

    return check


@BOTH
def test_the_local_api_lists_them(
    worker: Worker,
    folder: Path,
    schema: Callable[[str, Any], Any],
    tiny_checkpoint: Path,
) -> None:
    write(folder / "photo.json", titled(graphs.text_to_image(), n6="Prompt", n7="Prompt", n3="Sampler"))
    (folder / "broken.json").write_text("{")
    write(
        folder / "strange.json", {"1": node("NoSuchClass", a="\udc80", path="/data/of/me/x", api_key="sk-1", n=[1, 2])}
    )
    with serving(worker) as url:
        listed = schema("NamedWorkflows", get(f"{url}/workflows"))["workflows"]
        assert [entry["name"] for entry in listed] == ["broken", "edited", "loads", "photo", "red", "strange"]
        photo = schema("NamedWorkflow", get(f"{url}/workflows/photo"))
        nodes = photo.pop("nodes")
        assert photo in listed, "but for the nodes"
        assert {entry["node_id"]: entry["title"] for entry in nodes}["6"] == "Prompt"
        assert "is no JSON" in listed[0]["error"]
        assert str(folder) not in json.dumps(listed)
        inputs = {entry["set"]: entry for entry in photo["inputs"]}
        assert list(inputs)[:3] == [
            "Load Checkpoint.ckpt_name",
            "Empty Latent Image.width",
            "Empty Latent Image.height",
        ]
        assert inputs["Load Checkpoint.ckpt_name"]["choices"].count("tiny-sd.safetensors") == 1
        assert inputs["6.text"] | {"type": "STRING", "default": "a lake", "multiline": True} == inputs["6.text"]
        seed = {"type": "INT", "min": 0, "max": 2**64 - 1, "default": 1, "title": "Sampler", "node_id": "3"}
        assert inputs["Sampler.seed"] | seed == inputs["Sampler.seed"]
        assert "euler" in inputs["Sampler.sampler_name"]["choices"]
        assert not any(entry["input"] in ("model", "clip", "images") for entry in photo["inputs"])
        image = listed[2]["inputs"][0]
        assert (image["set"], image["upload"], "choices" in image) == ("Load Image.image", True, False)
        strange = {entry["input"]: entry for entry in listed[5]["inputs"]}
        assert strange["a"]["default"] == "\\udc80"
        assert "default" not in strange["path"]
        assert "default" not in strange["api_key"]
        for entry in photo["inputs"]:  # Each key means what it stands for.
            worker.converted(make_job({"workflow": "photo", "set": {entry["set"]: entry["default"]}}))
        answer = requests.get(f"{url}/workflows/{quote('phto')}", timeout=10)
        assert (answer.status_code, answer.json()) == (
            404,
            {"error": "There is no workflow 'phto' here; is 'photo' meant?"},
        )
        for name in ("../red", "%2e%2e%2fred", "%00", "%ff", "x" * 5000):
            assert requests.get(f"{url}/workflows/{name}", timeout=10).status_code in (400, 404)
        ended = post(f"{url}/runsync", {"input": {"workflow": "red", "set": {"Canvas.color": 255}}})
        assert ended["status"] == "COMPLETED"
    with serving(worker, local_api_token=SecretStr("t")) as url:
        for path in ("/workflows", "/workflows/red", "/v2/any/workflows"):
            assert requests.get(url + path, timeout=10).status_code == 401
            assert requests.get(url + path, timeout=10, headers={"Authorization": "Bearer t"}).status_code == 200


def test_the_commands_take_names(command: Command, as_client: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "named"
    folder.mkdir()
    write(folder / "edited.json", editors())
    names = {"WORKFLOWS_DIR": str(folder), **as_client}
    told = command("run", "edited", "--set", "Canvas.width=32", "--out", tmp_path / "out", **names)
    assert told.returncode == 0, told.stderr
    with Image.open(told.stdout.strip()) as picture:
        assert picture.size == (32, 16)
    told = command("run", "edtied", **names)
    assert (told.returncode, told.stderr) == (2, "worker: There is no workflow 'edtied' here; is 'edited' meant?\n")
    told = command("convert", "edited", **names)
    assert json.loads(told.stdout)["1"]["_meta"] == {"title": "Canvas"}, told.stderr
    told = command("run", "edited", "--set", "Canvas.widht=32", **names)
    assert told.returncode == 2
    assert "node 1 (EmptyImage, 'Canvas') has no input 'widht' (is 'width' meant?); it has" in told.stderr


def test_check_reads_each(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "named"
    folder.mkdir()
    write(folder / "good.json", graphs.solid())
    write(folder / "absent.json", graphs.text_to_image(checkpoint="none.safetensors"))
    environment = {"WORKFLOWS_DIR": str(folder), "COMFY_ARGS": "--cpu"}
    told = command("check", **environment)
    assert told.returncode == 0, told.stdout
    assert "Workflows by name" in told.stdout
    assert "absent: Node 4 (CheckpointLoaderSimple) ckpt_name: there is no 'none.safetensors' here" in told.stdout
    (folder / "broken.json").write_text("{")
    write(folder / "other.json", {"1": node("NoSuchClass")})
    write(folder / "denied.json", {"1": node("LoadImage", image="a.png")})
    told = command("check", NODE_DENYLIST="LoadImage", **environment)
    assert told.returncode == 1
    assert "is no JSON" in told.stdout
    assert "Node 1 (NoSuchClass): this node class is not installed" in told.stdout
    assert "Node 1 (LoadImage): this node class is not allowed here" in told.stdout
    assert "Some workflows by name cannot run" in told.stdout
