"""``python -m worker prepare`` with workflows, snapshots and build files, against stand-ins for hosts and registry."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from certificate import make_certificate
from comfy_registry import ComfyRegistry, make_zip
from git_command import GIT
from model_host import COMMIT, ModelHost, safetensors
from PIL import Image, PngImagePlugin

Answer = subprocess.CompletedProcess[str]
Prepare = Callable[..., Answer]
CONTENT = safetensors(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
EMPTY = "NODE_CLASS_MAPPINGS = {}\n"
PROJECT = '[project]\nname = "tiny-pack"\nversion = "{}"\n'
PACK = {"__init__.py": EMPTY, "pyproject.toml": PROJECT.format("1.0.0")}


@pytest.fixture
def host() -> Iterator[ModelHost]:
    """A host of models."""
    with ModelHost() as found:
        yield found


@pytest.fixture
def registry() -> Iterator[ComfyRegistry]:
    """A registry with one pack."""
    with ComfyRegistry() as found:
        found.archives["tiny-pack"] = {"1.0.0": make_zip(PACK)}
        yield found


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder that has models and custom_nodes."""
    folder = tmp_path / "base"
    folder.mkdir()
    return folder


@pytest.fixture
def variables(base: Path, registry: ComfyRegistry, project: Path) -> dict[str, str]:
    """The environment of the command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMFY_", "HF_", "CIVITAI_"))}
    return kept | {
        "COMFY_BASE_DIR": str(base),
        "COMFY_REGISTRY_URL": registry.url,
        "NETWORK_VOLUME_PATH": str(base / "no-volume"),
        "PYTHONPATH": str(project),
        "COLUMNS": "200",
    }


@pytest.fixture
def prepare(variables: Mapping[str, str], tmp_path: Path) -> Prepare:
    """Runs ``prepare ARGUMENTS`` with hosts of this machine allowed; with ``public`` they are not."""

    def run(*arguments: str | Path, public: bool = False, **more: str) -> Answer:
        command = [sys.executable, "-m", "worker", "prepare", *map(str, arguments)]
        return subprocess.run(
            command if public else [*command, "--any-host"],
            env={**variables, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return run


def loader(name: str, models: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """A node of the editor that loads a checkpoint."""
    properties: dict[str, Any] = {"cnr_id": "comfy-core", "ver": "0.3.40"}
    if models is not None:
        properties["models"] = models
    node = {"id": 4, "type": "CheckpointLoaderSimple", "mode": 0, "inputs": [], "outputs": []}
    return {**node, "widgets_values": [name], "properties": properties | more.pop("properties", {}), **more}


def listed(host: ModelHost, name: str = "a.safetensors", directory: str = "checkpoints", **more: Any) -> dict[str, Any]:
    """An entry of ``properties.models`` for a file that the host has."""
    path = more.pop("path", f"/{directory}/{name}")
    if path not in host.files:
        host.add(path, CONTENT)
    return {"name": name, "directory": directory, "url": host.url + path, **more}


def workflow(*nodes: Any, **more: Any) -> dict[str, Any]:
    """A workflow of the editor with these nodes."""
    return {"nodes": list(nodes), "links": [], "version": 0.4, **more}


def write(folder: Path, content: Any, name: str = "workflow.json") -> Path:
    """A JSON file."""
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def as_json(answer: Answer) -> dict[str, Any]:
    """The result of a run with ``--json``."""
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def models_below(base: Path) -> dict[str, bytes]:
    """The files in ``models/``, without those of the worker."""
    files = (path for path in (base / "models").rglob("*") if path.is_file())
    return {
        str(path.relative_to(base / "models")): path.read_bytes() for path in files if ".comfy-worker" not in path.parts
    }


def test_a_workflow_gets_its_models(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    first = prepare(path)
    assert first.returncode == 1, "something is missing"
    assert "missing     300.0 KB  checkpoints/a.safetensors" in first.stdout
    assert f"from {host.url}/checkpoints/a.safetensors" in first.stdout
    assert "1 to fetch, 300.0 KB" in first.stdout
    assert "--yes" in first.stdout
    assert models_below(base) == {}
    second = prepare(path, "--yes")
    assert second.returncode == 0, second.stdout + second.stderr
    assert models_below(base) == {"checkpoints/a.safetensors": CONTENT}
    asked = len(host.requests)
    third = prepare(path, "--yes")
    assert third.returncode == 0
    assert "All of it is there" in third.stdout
    assert len(host.requests) == asked, "nothing is asked again"


def test_what_the_worker_reads_is_what_was_prepared(
    prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path
) -> None:
    """ComfyUI itself, started, finds the file under the workflow's name."""
    path = write(tmp_path, workflow(loader("XL\\a.safetensors", [listed(host)])))
    assert prepare(path, "--yes").returncode == 0
    assert models_below(base) == {"checkpoints/XL/a.safetensors": CONTENT}, "where the node asks for it"
    graph = {"4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "XL/a.safetensors"}}}
    environment = {**os.environ, "COMFY_BASE_DIR": str(base), "NETWORK_VOLUME_PATH": str(base / "none")}
    found = subprocess.run(
        [sys.executable, "-m", "worker", "models", str(write(tmp_path, graph, "graph.json")), "--json"],
        env=environment, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)[0]["path"] == str(base / "models/checkpoints/XL/a.safetensors")


def test_subgraphs_and_nodes_that_are_off(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    inner = {
        "id": "11111111-2222-3333-4444-555555555555",
        "nodes": [loader("in.safetensors", [listed(host, "in.safetensors")])],
    }
    unused = {
        "id": "21111111-2222-3333-4444-555555555555",
        "nodes": [loader("u.safetensors", [listed(host, "u.safetensors")])],
    }
    off = [loader(f"{mode}.safetensors", [listed(host, f"{mode}.safetensors")], mode=mode) for mode in (2, 4)]
    instance = {"id": 9, "type": inner["id"], "mode": 0, "properties": {}}
    path = write(tmp_path, workflow(instance, *off, definitions={"subgraphs": [inner, unused]}))
    result = as_json(prepare(path, "--json"))
    assert [model["name"] for model in result["models"]] == ["in.safetensors"]
    assert "node 4" in result["models"][0]["needed_by"]


def test_pictures_requests_and_api_graphs(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    graph = {"4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}}}
    graph["5"] = {"class_type": "OfSomePack", "inputs": {}}
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", json.dumps(graph))
    text.add_text("workflow", json.dumps(workflow(loader("a.safetensors", [listed(host)]))))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=text)
    (model,) = as_json(prepare("a.png", "--json"))["models"]
    assert (model["state"], model["directory"]) == ("missing", "checkpoints")

    (model,) = as_json(prepare(write(tmp_path, graph), "--json"))["models"]
    assert (model["state"], model["directory"], model["remark"]) == ("unknown", None, "nobody says where to get it")
    (base / "models" / "vae").mkdir(parents=True)
    (base / "models" / "vae" / "a.safetensors").write_bytes(CONTENT)
    result = as_json(prepare(write(tmp_path, graph), "--json"))
    assert result["models"][0]["state"] == "there", "some model folder has it"
    assert list(result["classes_of_unknown_packs"]) == ["OfSomePack"], "the other one is ComfyUI's own"

    request = {"input": {"workflow": graph, "models": [listed(host, sha256=SHA256)]}}
    (model,) = as_json(prepare(write(tmp_path, request), "--json"))["models"]
    assert (model["state"], model["sha256"]) == ("missing", SHA256)
    extra = {"extra_pnginfo": {"workflow": workflow(loader("b.safetensors", [listed(host, "b.safetensors")]))}}
    request = {"input": {"workflow": graph, "extra_data": extra}}
    assert "b.safetensors" in {
        model["name"] for model in as_json(prepare(write(tmp_path, request), "--json"))["models"]
    }


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{", "is no JSON"),
        (b"[]", "is no object"),
        (b'{"a": 1}', "is no workflow, no snapshot.json"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
        (b"[" * 200_000, "is no JSON"),
        (b'{"schema": "comfy-build/2", "definition": {}}', "'comfy-build/1' can be read"),
        (b'{"schema": "comfy-build/1"}', "'definition' must be a mapping"),
        (b'{"schema": "comfy-build/1", "definition": {"models": [{"filename": "a"}]}}', r"models\[0\].type must name"),
        (b'{"schema": "comfy-build/1", "definition": {"models": [{"type": 3}]}}', r"models\[0\].type must be a text"),
        (b'{"schema": "comfy-build/1", "definition": {"customNodes": [{}]}}', r"customNodes\[0\] needs a name"),
        (b'{"schema": "comfy-build/1", "definition": {"customNodes": {}}}', "customNodes must be a list"),
        (b"\xff\xfe", "is no JSON"),
    ],
)
def test_files_that_are_none(prepare: Prepare, tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "odd.json").write_bytes(content)
    answer = prepare("odd.json")
    assert answer.returncode == 2
    assert re.search(text, answer.stderr), answer.stderr
    assert answer.stderr.startswith("worker: odd.json"), "one line, which names the file"
    assert answer.stderr.count("\n") == 1


def test_a_file_that_is_not_there(prepare: Prepare) -> None:
    answer = prepare("nothing.json")
    assert (answer.returncode, answer.stderr) == (
        2,
        "worker: nothing.json cannot be read (No such file or directory)\n",
    )
    assert prepare().returncode == 2


@pytest.mark.parametrize(
    ("name", "directory", "text"),
    [
        ("../a.safetensors", "checkpoints", "outside of the model folders"),
        ("a/../../a.safetensors", "checkpoints", "outside of the model folders"),
        ("/etc/a.safetensors", "checkpoints", "full path"),
        ("C:\\models\\a.safetensors", "checkpoints", "full path"),
        (".hidden.safetensors", "checkpoints", "hidden"),
        ("a\u0000.safetensors", "checkpoints", "characters"),
        ("a\nb.safetensors", "checkpoints", "characters"),
        ("x" * 201 + ".safetensors", "checkpoints", "too long"),
        ("a.safetensors", "../checkpoints", "outside of the model folders"),
        ("a.safetensors", "/etc", "full path"),
        ("a.safetensors", "custom_nodes", "no folder for models"),
        ("a.safetensors", "configs/x", "no folder for models"),
        ("a.safetensors", "no_such_kind", "ComfyUI knows no model folder 'no_such_kind'"),
        ("a.safetensors", None, "nobody says which model folder"),
        ("a.ckpt", "checkpoints", "can run code"),
        ("a.py", "checkpoints", "is no model file"),
        ("a.safetensors.py", "checkpoints", "is no model file"),
        ("a", "checkpoints", "is no model file"),
    ],
)
def test_words_of_a_stranger(
    prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path, name: str, directory: str | None, text: str
) -> None:
    entry = {"name": name, "url": f"{host.url}/x"} | ({"directory": directory} if directory else {})
    host.add("/x", CONTENT)
    answer = prepare(write(tmp_path, workflow(loader("other", [entry]))), "--yes", "--json")
    assert answer.returncode == 1
    (model,) = as_json(answer)["models"]
    assert model["state"] == "failed"
    assert text in model["remark"]
    assert "Traceback" not in answer.stderr
    assert models_below(base) == {}
    assert not host.requests, "no host is asked about what has no place"


def test_links_that_lead_out(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (base / "models" / "checkpoints").mkdir(parents=True)
    (base / "models" / "checkpoints" / "out").symlink_to(elsewhere)
    (base / "models" / "checkpoints" / "gone.safetensors").symlink_to(elsewhere / "gone")
    entries = [listed(host, "out/a.safetensors"), listed(host, "gone.safetensors")]
    result = as_json(prepare(write(tmp_path, workflow(loader("x", entries))), "--yes", "--json"))
    assert [model["state"] for model in result["models"]] == ["failed", "failed"]
    assert "leads out of" in result["models"][0]["remark"]
    assert "a link to a file that is not there" in result["models"][1]["remark"]
    assert not list(elsewhere.iterdir())


def test_options_allow_more(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    host.add("/p.ckpt", b"a pickle, perhaps")
    entries = [
        {"name": "p.ckpt", "directory": "checkpoints", "url": f"{host.url}/p.ckpt"},
        listed(host, "n.safetensors", "ipadapter/plus"),
    ]
    path = write(tmp_path, workflow(loader("x", entries)))
    assert prepare(path, "--yes").returncode == 1
    assert models_below(base) == {}
    answer = prepare(path, "--yes", "--pickles", "--new-folders")
    assert answer.returncode == 0, answer.stdout
    assert sorted(models_below(base)) == ["checkpoints/p.ckpt", "ipadapter/plus/n.safetensors"]


def test_other_names_of_model_folders(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    entries = [
        listed(host, "a.safetensors", "unet"),
        listed(host, "b.safetensors", "clip"),
        listed(host, "c.safetensors", "diffusion_models"),
    ]
    assert prepare(write(tmp_path, workflow(loader("x", entries))), "--yes").returncode == 0
    assert sorted(models_below(base)) == ["clip/b.safetensors", "diffusion_models/c.safetensors", "unet/a.safetensors"]
    asked = len(host.requests)
    entries = [listed(host, "b.safetensors", "text_encoders"), listed(host, "c.safetensors", "unet")]
    assert prepare(write(tmp_path, workflow(loader("x", entries))), "--yes").returncode == 0, "ComfyUI reads both"
    assert len(host.requests) == asked


def test_a_file_with_other_content_stays(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    target = base / "models" / "checkpoints" / "a.safetensors"
    target.parent.mkdir(parents=True)
    for content, entry, text in (
        (safetensors(200_000), {}, "it has 200.0 KB, and its source 300.0 KB"),
        (safetensors(300_000, "b"), {"hash": SHA256, "hash_type": "SHA256"}, "its SHA-256 is"),
    ):
        target.write_bytes(content)
        answer = prepare(write(tmp_path, workflow(loader("a.safetensors", [listed(host, **entry)]))), "--yes", "--json")
        assert answer.returncode == 1
        (model,) = as_json(answer)["models"]
        assert model["state"] == "different"
        assert f"another file has this name and stays: {text}" in model["remark"]
        assert target.read_bytes() == content
    target.write_bytes(CONTENT[:1000])
    answer = prepare(write(tmp_path, workflow(loader("a.safetensors", [listed(host)]))), "--yes")
    assert answer.returncode == 1
    assert "it is cut off: 1.0 KB of 300.0 KB: remove it, and run this again" in answer.stdout


def test_a_file_that_was_spoilt_since(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    assert prepare(path, "--yes").returncode == 0
    target = base / "models" / "checkpoints" / "a.safetensors"
    status = target.stat()
    target.write_bytes(safetensors(300_000, "b"))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert prepare(path).returncode == 0, "its time and size are the same"
    answer = prepare(path, "--verify")
    assert answer.returncode == 1
    assert "another file has this name" in answer.stdout


def test_hosts_that_lie_or_refuse(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    names = {"denied": 401, "gone": 404, "limit": 429}
    for name, status in names.items():
        served = host.add(f"/{name}", CONTENT)
        served.statuses, served.headers["Retry-After"] = [status] * 20, "600"
    host.add("/liar", CONTENT).headers["X-Linked-ETag"] = f'"{"0" * 64}"'
    host.add("/page", b"<html></html>", tell=False)
    entries = [listed(host, f"{name}.safetensors", path=f"/{name}") for name in (*names, "liar", "page")]
    entries.append(listed(host, "good.safetensors"))
    answer = prepare(write(tmp_path, workflow(loader("x", entries))), "--yes", "--json")
    assert answer.returncode == 1
    remarks = {model["name"].partition(".")[0]: model["remark"] for model in as_json(answer)["models"]}
    assert "refuses it (401)" in remarks["denied"]
    assert "is not there (404)" in remarks["gone"]
    assert "asks to wait 600 s" in remarks["limit"]
    assert f"its SHA-256 is {SHA256}, and must be 000" in remarks["liar"]
    assert "a web page, not a model" in remarks["page"]
    assert models_below(base) == {"checkpoints/good.safetensors": CONTENT}, "the others cost it nothing"


def test_a_workflow_and_its_host_disagree(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    entry = listed(host, hash="f" * 64, hash_type="sha-256")
    answer = prepare(write(tmp_path, workflow(loader("a.safetensors", [entry]))), "--yes", "--json")
    assert "its source has another file" in as_json(answer)["models"][0]["remark"]
    assert models_below(base) == {}


def test_private_hosts_and_plain_http_need_an_option(
    prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path
) -> None:
    answer = prepare(write(tmp_path, workflow(loader("a.safetensors", [listed(host)]))), "--yes", "--json", public=True)
    assert answer.returncode == 1
    assert "not on the public internet" in as_json(answer)["models"][0]["remark"]
    assert not host.requests


def test_a_token_is_never_shown(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    entry = listed(host)
    host.files["/checkpoints/a.safetensors"].statuses = [401]
    entry["url"] += "?type=Model&token=url-secret"
    path = write(tmp_path, workflow(loader("a.safetensors", [entry])))
    tokens = {"HF_TOKEN": "hf-secret", "CIVITAI_TOKEN": "civitai-secret"}
    shown = ""
    for arguments in (("--yes",), ("--yes",), ("--json",), ("--lock", "lock.yaml")):
        answer = prepare(path, *arguments, **tokens)
        shown += answer.stdout + answer.stderr
    assert answer.returncode == 0
    shown += (tmp_path / "lock.yaml").read_text()
    shown += "".join(file.read_text() for file in base.rglob(".comfy-worker/*.json"))
    assert "?type=Model" in shown
    assert "secret" not in shown
    assert all(request.authorization is None for request in host.requests), "this host is none of theirs"


def test_the_volume_and_further_folders(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    volume, more = tmp_path / "volume", tmp_path / "more"
    volume.mkdir()
    more.mkdir()
    (base / "extra_model_paths.yaml").write_text(f"mine:\n  base_path: {more}\n  checkpoints: ckpts\n")
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    answer = prepare(path, "--yes", NETWORK_VOLUME_PATH=str(volume))
    assert answer.returncode == 0, answer.stdout
    target = volume / "models" / "checkpoints" / "a.safetensors"
    assert target.read_bytes() == CONTENT
    (more / "ckpts").mkdir()
    shutil.move(target, more / "ckpts" / "a.safetensors")
    assert prepare(path).returncode == 0, "it is there as well"
    path = write(tmp_path, workflow(loader("b.safetensors", [listed(host, "b.safetensors")])))
    assert prepare(path, "--yes", "--into", base / "models", NETWORK_VOLUME_PATH=str(volume)).returncode == 0
    assert models_below(base) == {"checkpoints/b.safetensors": CONTENT}
    answer = prepare(path, "--into", tmp_path)
    assert answer.returncode == 2
    assert "ComfyUI reads no models there; it reads" in answer.stderr


def test_a_run_that_is_interrupted_goes_on(
    host: ModelHost, base: Path, tmp_path: Path, variables: dict[str, str], prepare: Prepare
) -> None:
    host.add("/checkpoints/a.safetensors", CONTENT).rate = 100_000
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    part = base / "models/checkpoints/.comfy-worker/a.safetensors.part"
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)):
        begun = part.stat().st_size if part.exists() else 0
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "prepare", str(path), "--yes", "--any-host"],
            env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while (not part.exists() or part.stat().st_size < begun + 10_000) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == code, said
        assert "Traceback" not in said
        assert begun < part.stat().st_size < len(CONTENT)
    come = part.stat().st_size
    host.files["/checkpoints/a.safetensors"].rate = 0
    assert "of it have come already" in prepare(path).stdout
    assert prepare(path, "--yes").returncode == 0
    assert host.requests[-1].range == f"bytes={come}-"
    assert models_below(base) == {"checkpoints/a.safetensors": CONTENT}


def test_two_runs_at_once_fetch_it_once(host: ModelHost, base: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    host.add("/checkpoints/a.safetensors", CONTENT).rate = 150_000
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    command = [sys.executable, "-m", "worker", "prepare", str(path), "--yes", "--any-host"]
    runs = [
        subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)
    ]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert host.sent == len(CONTENT)
    assert models_below(base) == {"checkpoints/a.safetensors": CONTENT}


def test_no_room_is_seen_before(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    served = host.add("/checkpoints/a.safetensors", CONTENT, tell=False)
    served.length = 10**18
    answer = prepare(write(tmp_path, workflow(loader("a.safetensors", [listed(host)]))), "--yes")
    assert answer.returncode == 1
    assert re.search(
        r"There is no room on the disk of \S+: 1000000000.00 GB are to come, \S+ GB are free", answer.stdout
    )
    assert host.sent == 0
    assert models_below(base) == {}


def test_the_bar(host: ModelHost, base: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    """At a terminal there is a bar, with rate and rest."""
    host.add("/checkpoints/a.safetensors", CONTENT).rate = 150_000
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "prepare", str(path), "--yes", "--any-host"],
        env={**variables, "TERM": "xterm"}, stdout=side, stderr=side, stdin=side,
    )  # fmt: skip
    os.close(side)
    shown = io.BytesIO()
    try:
        while piece := os.read(main, 4096):
            shown.write(piece)
    except OSError:  # So a terminal ends.
        pass
    assert process.wait(20) == 0
    text = shown.getvalue().decode()
    assert re.search(r"a\.safetensors .*[\d.]+/300\.0 kB.*[\d.]+ kB/s.*0:00:0[1-9]", text), text[-3000:]


def commit(repository: Path, files: Mapping[str, str]) -> str:
    """Commit files, and make the repository one that a plain web server can offer. Returns the commit."""
    repository.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (repository / name).write_text(content)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "change"], ["update-server-info"]):
        subprocess.run([*GIT, *words], cwd=repository, check=True, capture_output=True)
    return subprocess.run(
        [*GIT, "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout.strip()


def serve_repository(host: ModelHost, repository: Path, name: str) -> str:
    """Offer a repository on the host. Returns its address."""
    for path in (repository / ".git").rglob("*"):
        if path.is_file():
            host.add(f"/{name}.git/{path.relative_to(repository / '.git')}", path.read_bytes(), tell=False)
    return f"{host.url}/{name}.git"


def test_packs_are_installed_only_if_asked(
    prepare: Prepare, host: ModelHost, registry: ComfyRegistry, base: Path, tmp_path: Path
) -> None:
    node = {"id": 1, "type": "Tiny", "mode": 0, "properties": {"cnr_id": "tiny-pack", "ver": "1.0.0"}}
    path = write(tmp_path, workflow(node, dict(node, id=2)))
    first = prepare(path, "--yes")
    assert first.returncode == 1
    assert "missing         pack  tiny-pack 1.0.0" in first.stdout
    assert "node 1 (Tiny) and 1 more" in first.stdout
    assert "--install-packs" in first.stdout
    assert not list((base / "custom_nodes").iterdir())
    second = prepare(path, "--install-packs", "--json")
    assert second.returncode == 0, second.stderr
    assert as_json(second)["packs"][0]["state"] == "there"
    assert (base / "custom_nodes" / "tiny-pack" / "__init__.py").is_file()
    newer = dict(node, properties={"cnr_id": "tiny-pack", "ver": "1.0.1"})
    third = prepare(write(tmp_path, workflow(newer)))
    assert third.returncode == 0, "another version is there, which most often works"
    assert "1.0.0 is there, and the file was made with 1.0.1" in third.stdout


def test_a_commit_of_a_pack_of_the_registry(
    prepare: Prepare, host: ModelHost, registry: ComfyRegistry, base: Path, tmp_path: Path
) -> None:
    """The editor writes the commit if a pack was installed as its nightly version."""
    first = commit(tmp_path / "repository", PACK)
    commit(tmp_path / "repository", {"more.py": ""})
    registry.repositories["tiny-pack"] = serve_repository(host, tmp_path / "repository", "tiny")
    node = {"id": 1, "type": "Tiny", "mode": 0, "properties": {"cnr_id": "tiny-pack", "ver": first}}
    answer = prepare(write(tmp_path, workflow(node)), "--install-packs")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (folder,) = (base / "custom_nodes").iterdir()
    assert not (folder / "more.py").exists()


def test_what_a_pack_starts_sees_no_token(
    prepare: Prepare, registry: ComfyRegistry, base: Path, tmp_path: Path
) -> None:
    script = "import os, json\nopen('seen.json', 'w').write(json.dumps(dict(os.environ)))\n"
    registry.archives["tiny-pack"]["1.0.0"] = make_zip(PACK | {"install.py": script})
    node = {"id": 1, "type": "Tiny", "mode": 0, "properties": {"cnr_id": "tiny-pack"}}
    keys = {"HF_TOKEN": "secret", "CIVITAI_TOKEN": "secret", "BUCKET_SECRET_ACCESS_KEY": "secret"}
    answer = prepare(write(tmp_path, workflow(node)), "--install-packs", **keys)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    seen = json.loads((base / "custom_nodes" / "tiny-pack" / "seen.json").read_text())
    assert "PATH" in seen
    assert "secret" not in seen.values()


@pytest.mark.parametrize(
    "properties",
    [
        {"cnr_id": "--into=/tmp", "ver": "1.0.0"},
        {"aux_id": "a/b --into x"},
        {"aux_id": "https://evil/x"},
        {"cnr_id": 3, "aux_id": ["x"]},
    ],
)
def test_packs_with_odd_names(prepare: Prepare, base: Path, tmp_path: Path, properties: dict[str, Any]) -> None:
    node = {"id": 1, "type": "Tiny", "mode": 0, "properties": properties}
    answer = prepare(write(tmp_path, workflow(node)), "--install-packs")
    assert "Traceback" not in answer.stderr
    assert not list((base / "custom_nodes").iterdir())
    assert "install-nodes:" not in answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("pack", "text"),
    [
        ({"name": "--into=/tmp", "registryVersion": "1"}, "is no name of a pack"),
        ({"name": "tiny-pack", "registryVersion": "1 --into x"}, "is no name of a pack"),
        ({"name": "x", "repository": "--upload-pack=x"}, "is no https address"),
        ({"name": "x", "repository": "ext::sh -c x"}, "is no https address"),
        ({"name": "x", "repository": "file:///etc"}, "is no https address"),
        ({"name": "x", "repository": "http://example.com/x"}, "is no https address"),
        ({"name": "x", "repository": "https://user:secret@example.com/x", "gitRef": "a" * 40}, "is no https address"),
        ({"name": "x", "repository": "https://example.com/x", "gitRef": "--exec=x"}, "is no commit, tag or branch"),
    ],
)
def test_packs_that_no_installer_is_told(prepare: Prepare, base: Path, tmp_path: Path, pack: Any, text: str) -> None:
    document = {"schema": "comfy-build/1", "definition": {"customNodes": [pack]}}
    answer = prepare(write(tmp_path, document), "--install-packs", "--lock", "lock.yaml", "--json")
    assert answer.returncode == 1
    (found,) = as_json(answer)["packs"]
    assert found["state"] == "failed"
    assert text in found["remark"]
    assert not list((base / "custom_nodes").iterdir())
    assert "secret" not in (tmp_path / "lock.yaml").read_text()


def test_a_snapshot(prepare: Prepare, host: ModelHost, registry: ComfyRegistry, base: Path, tmp_path: Path) -> None:
    revision = commit(tmp_path / "repository", {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n"})
    url = serve_repository(host, tmp_path / "repository", "of-git")
    snapshot = {
        "comfyui": "a" * 40,
        "git_custom_nodes": {url: {"hash": revision, "disabled": False}, "https://x.invalid/y": {"disabled": True}},
        "cnr_custom_nodes": {"tiny-pack": "1.0.0"},
        "file_custom_nodes": [{"filename": "single.py", "disabled": False}],
        "pips": {"numpy==1.0": ""},
    }
    path = write(tmp_path, snapshot, "snapshot.json")
    answer = prepare(path, "--install-packs", "--lock", "lock.yaml")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "single.py" in answer.stdout
    assert sorted(folder.name for folder in (base / "custom_nodes").iterdir()) == ["of-git", "tiny-pack"]
    packs = yaml.safe_load((tmp_path / "lock.yaml").read_text())["definition"]["customNodes"]
    assert packs == [
        {"name": "of-git", "repository": url, "gitRef": revision},
        {"name": "tiny-pack", "id": "tiny-pack", "registryVersion": "1.0.0"},
    ]


def test_a_lock_gives_the_same_again(
    prepare: Prepare, host: ModelHost, registry: ComfyRegistry, base: Path, tmp_path: Path
) -> None:
    """From a workflow to a file, without fetching anything, and from the file to what it lists, elsewhere."""
    revision = commit(tmp_path / "repository", {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n"})
    registry.repositories["of-git"] = serve_repository(host, tmp_path / "repository", "of-git")
    nodes = [
        loader("XL/a.safetensors", [listed(host)]),
        {"id": 7, "type": "Tiny", "mode": 0, "properties": {"cnr_id": "tiny-pack"}},
        {"id": 8, "type": "OfGit", "mode": 0, "properties": {"cnr_id": "of-git", "ver": revision}},
    ]
    answer = prepare(write(tmp_path, workflow(*nodes)), "--lock", "comfy-build.yaml")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert models_below(base) == {}
    lock = yaml.safe_load((tmp_path / "comfy-build.yaml").read_text())
    assert lock["schema"] == "comfy-build/1"
    assert lock["definition"]["models"] == [
        {
            "type": "checkpoints/XL",
            "filename": "a.safetensors",
            "sourceUri": f"{host.url}/checkpoints/a.safetensors",
            "sha256": SHA256,
        }
    ]
    assert [pack["name"] for pack in lock["definition"]["customNodes"]] == ["of-git", "tiny-pack"]
    registry.archives["tiny-pack"]["2.0.0"] = make_zip(PACK | {"newer.py": ""})
    commit(tmp_path / "repository", {"newer.py": ""})
    serve_repository(host, tmp_path / "repository", "of-git")
    answer = prepare("comfy-build.yaml", "--yes", "--install-packs")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert models_below(base) == {"checkpoints/XL/a.safetensors": CONTENT}
    assert not list((base / "custom_nodes").rglob("newer.py"))
    assert prepare("comfy-build.yaml", "--lock", "again.yaml").returncode == 0
    again = yaml.safe_load((tmp_path / "again.yaml").read_text())
    assert again["definition"] == lock["definition"]


def test_a_lock_says_what_is_not_exact(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    host.add("/checkpoints/a.safetensors", CONTENT, tell=False)
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)]), loader("nowhere.safetensors")))
    answer = prepare(path, "--lock", "lock.yaml")
    assert answer.returncode == 1
    assert "not exact: a.safetensors: its SHA-256 is not known before it is fetched" in answer.stdout
    assert "not exact: nowhere.safetensors: nobody says where to get it, so it is left out" in answer.stdout
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    assert prepare(path, "--yes", "--lock", "lock.yaml").returncode == 0
    (model,) = yaml.safe_load((tmp_path / "lock.yaml").read_text())["definition"]["models"]
    assert model["sha256"] == SHA256, "what came was measured"


def test_a_lock_is_exact_in_a_later_run(prepare: Prepare, host: ModelHost, base: Path, tmp_path: Path) -> None:
    """What was remembered of a file says nothing about its revision, so its host is asked."""
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    assert prepare(path, "--yes").returncode == 0
    asked = len(host.requests)
    assert prepare(path, "--lock", "lock.yaml").returncode == 0
    assert len(host.requests) == asked + 1
    target = base / "models" / "checkpoints" / "a.safetensors"
    target.write_bytes(safetensors(300_000, "b"))
    answer = prepare(path, "--lock", "lock.yaml")
    assert answer.returncode == 1, "what is there is another file"
    assert "not exact: a.safetensors: another file has this name and stays" in answer.stdout
    (model,) = yaml.safe_load((tmp_path / "lock.yaml").read_text())["definition"]["models"]
    assert model["sha256"] == SHA256, "the one that was meant"


def test_a_lock_that_cannot_be_written_is_told_before(prepare: Prepare, host: ModelHost, tmp_path: Path) -> None:
    path = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    for place in ("no/such/lock.yaml", "."):
        answer = prepare(path, "--yes", "--lock", place)
        assert answer.returncode == 2
        assert "there is no such folder, or it is one itself" in answer.stderr
    assert not host.requests


def test_another_version_than_a_lock_wants_is_replaced(
    prepare: Prepare, registry: ComfyRegistry, base: Path, tmp_path: Path
) -> None:
    newer = PACK | {"pyproject.toml": PROJECT.format("2.0.0")}
    registry.archives["tiny-pack"]["2.0.0"] = make_zip(newer)
    for version in ("2.0.0", "1.0.0"):
        pack = {"name": "tiny-pack", "id": "tiny-pack", "registryVersion": version}
        document = {"schema": "comfy-build/1", "definition": {"customNodes": [pack]}}
        path = write(tmp_path, document, "comfy-build.json")
        assert prepare(path).returncode == 1
        answer = prepare(path, "--install-packs")
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert f'version = "{version}"' in (base / "custom_nodes" / "tiny-pack" / "pyproject.toml").read_text()


AS_HUGGING_FACE = """
import sys, urllib3.util.connection as connection
connect, port = connection.create_connection, int(sys.argv.pop(1))
connection.create_connection = lambda _, *rest, **more: connect(("127.0.0.1", port))
from worker.__main__ import main
sys.exit(main())
"""


def test_hugging_face(base: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    """By https, with a token, a redirect to where the files lie, and a branch that moves on."""
    certificate = make_certificate(tmp_path, "huggingface.co", "cas-bridge.xethub.hf.co")
    page, file = "/org/name/blob/main/dir/a.safetensors", "/org/name/resolve/{}/dir/a.safetensors"
    with ModelHost(certificate) as hub:
        for revision in ("main", COMMIT):
            hub.add(file.format(revision), CONTENT).redirect = "https://cas-bridge.xethub.hf.co/real?sig=x"
        hub.add("/real", CONTENT, tell=False)

        def run(*arguments: str) -> Answer:
            command = [sys.executable, "-c", AS_HUGGING_FACE, str(hub.port), "prepare", *arguments, "--any-host"]
            tokens = {"HF_TOKEN": "hf-secret", "SSL_CERT_FILE": str(certificate[0])}
            return subprocess.run(
                command, env=variables | tokens, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
            )

        entry = {"name": "a.safetensors", "directory": "vae", "url": f"https://huggingface.co{page}"}
        write(tmp_path, workflow(loader("a.safetensors", [entry])))
        answer = run("workflow.json", "--lock", "comfy-build.yaml")
        assert answer.returncode == 0, answer.stdout + answer.stderr
        (model,) = yaml.safe_load((tmp_path / "comfy-build.yaml").read_text())["definition"]["models"]
        assert model["sourceUri"] == f"https://huggingface.co{file.format(COMMIT)}"
        assert model["sha256"] == SHA256
        del hub.files[file.format("main")]
        answer = run("comfy-build.yaml", "--yes")
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert models_below(base) == {"vae/a.safetensors": CONTENT}
        seen = {(request.host, request.authorization) for request in hub.requests}
        assert seen == {("huggingface.co", "Bearer hf-secret"), ("cas-bridge.xethub.hf.co", None)}


def test_the_step_of_an_image(
    host: ModelHost, base: Path, tmp_path: Path, variables: dict[str, str], prepare: Prepare, project: Path
) -> None:
    """From a workflow to an image in two commands: the step of the second one, as the Dockerfile has it."""
    source = write(tmp_path, workflow(loader("a.safetensors", [listed(host)])))
    assert prepare(source, "--lock", "comfy-build.yaml").returncode == 0
    environment = tmp_path / "environment"
    environment.mkdir()
    (environment / "LICENSE").write_text("no such file")
    script = project / "scripts" / "image" / "prepare-environment"
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    step = [str(script), str(environment), "--any-host"]
    path = {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join([str(project), *sys.path])}
    nothing = subprocess.run(step, env=variables | path, capture_output=True, text=True, check=False, timeout=200)
    assert (nothing.returncode, nothing.stdout) == (0, ""), "without ENVIRONMENT nothing is fetched"
    shutil.move(tmp_path / "comfy-build.yaml", environment)
    done = subprocess.run(step, env=variables | path, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert models_below(base) == {"checkpoints/a.safetensors": CONTENT}
    text = (project / "Dockerfile").read_text()
    assert "COPY LICENSE ${ENVIRONMENT} /opt/comfy-worker/environment/" in text
    assert "--mount=type=secret,id=hf_token --mount=type=secret,id=civitai_token" in text
    assert not re.search(r"(ARG|ENV) \w*TOKEN", text), "an argument of a build stays in the image's history"
