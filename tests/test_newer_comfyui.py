"""ComfyUI as the source of 0.38.1 says it is, in a worker's process: what the worker touches is as it expects it.

Two processes, for all tests of a start: ComfyUI takes seconds to start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import graphs
import pytest
from newer_comfyui import GOVERNANCE, newer_comfyui

from worker.embedded import versions
from worker.embedded.start.source import find_source
from worker.errors import SettingsError, StartError
from worker.settings import load_settings

Found = dict[str, Any]
SIDE = 1500
GRAPH = graphs.through("Look") | {"1": graphs.node("EmptyImage", width=SIDE, height=SIDE, batch_size=2, color=255)}
SPY = """
import json, os, sys
from worker import Worker
notices, events, during = [], [], []
with Worker(say=lambda notice: notices.append(str(notice))) as worker:
    main = worker.runtime.main
    server = main.server.PromptServer.instance
    manager = getattr(server, "asset_manager", None)
    has_temp = os.path.isdir(main.folder_paths.get_temp_directory())
    class Look:
        RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "run", "test"
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"image": ("IMAGE",)}}
        def run(self, image):
            during.append([getattr(server, "workflow_metadata", "absent"), manager.paused])
            if manager.sink is not None:
                manager.sink("assets.seed.progress", {"scanned": 1})
            return (image,)
    main.nodes.NODE_CLASS_MAPPINGS["Look"] = Look
    result = worker.run(json.loads(sys.argv[1]), on_event=events.append)
    from comfy_execution import media_enrichment
    print(json.dumps({
        "sizes": [image.size for image in result.images], "errors": result.errors, "notices": notices,
        "executor": worker.runtime.prompts._executor.asset_manager is manager,
        "enabled": manager.enabled, "calls": manager.calls, "flag": main.feature_flags.SERVER_FEATURE_FLAGS["assets"],
        "temp": has_temp,
        "during": during, "after": [server.workflow_metadata, manager.paused],
        "events": [getattr(event, "name", "") for event in events],
        "media": media_enrichment.seen,
        "partners": sum(
            getattr(kind, "RELATIVE_PYTHON_MODULE", "").startswith("comfy_api_nodes")
            for kind in main.nodes.NODE_CLASS_MAPPINGS.values()
        ),
        "blur": "ImageBlur" in main.nodes.NODE_CLASS_MAPPINGS,
        "loras": main.folder_paths.get_folder_paths("loras"),
        "levels": [worker.runtime.flags[i + 1] for i, f in enumerate(worker.runtime.flags) if f == "--verbose"],
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree."""
    source = find_source(load_settings().comfyui_path, None)
    return newer_comfyui(source.path, tmp_path_factory.mktemp("newer") / "ComfyUI")


def make_base(folder: Path) -> Path:
    """A base directory of its own."""
    for name in ("models", "custom_nodes", "input"):
        (folder / "base" / name).mkdir(parents=True)
    return folder / "base"


def start(tree: Path, base: Path, flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start a worker in a process of its own, and run a job."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CUDA")}
    given = {"COMFYUI_PATH": str(tree), "COMFY_BASE_DIR": str(base), "COMFY_ARGS": f"--cpu {flags}"}
    return subprocess.run(
        [sys.executable, "-c", SPY, json.dumps(GRAPH)],
        env=clean | given | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def found(answer: subprocess.CompletedProcess[str]) -> Found:
    assert answer.returncode == 0, answer.stderr
    facts: Found = json.loads(answer.stdout.splitlines()[-1])
    return facts


@pytest.fixture(scope="module")
def plain(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What a worker without flags found."""
    return found(start(tree, make_base(tmp_path_factory.mktemp("plain")), ""))


@pytest.fixture(scope="module")
def flagged(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What a worker found that has the flags and files which 0.38.1 brings along."""
    base = make_base(tmp_path_factory.mktemp("flagged"))
    (base / "extra_paths.yaml").write_text("newer:\n  loras: /new-loras\n")
    (base / "extra_model_paths.yaml").write_text("older:\n  loras: /old-loras\n")
    (base / "nodes.yaml").write_text("disabled_nodes: [ImageBlur]\n")
    flags = f"--enable-assets --cuda-device all --disable-partner-nodes --disabled-nodes-config {base / 'nodes.yaml'}"
    return found(start(tree, base, f"{flags} --verbose ERROR", COMFY_LOG_LEVEL="WARNING"))


def test_a_job_runs(plain: Found, flagged: Found) -> None:
    """The server, the executor and the database take an object for assets."""
    for facts in (plain, flagged):
        assert facts["errors"] == []
        assert facts["sizes"] == [[SIDE, SIDE]] * 2
        assert facts["executor"]
        assert facts["calls"][0] == "register_routes"


def test_it_says_that_this_version_was_not_tried(plain: Found) -> None:
    assert "ComfyUI 0.38.1 was not tried with this worker (0.3.75 and 0.33.0 were)" in " ".join(plain["notices"])


def test_assets_are_off_unless_they_are_asked_for(plain: Found, flagged: Found) -> None:
    assert (plain["enabled"], plain["flag"], "startup" in plain["calls"]) == (False, False, False)
    assert (flagged["enabled"], flagged["flag"], "startup" in flagged["calls"]) == (True, True, True)


def test_the_temp_folder_is_there_after_the_database_removed_it(flagged: Found) -> None:
    assert flagged["temp"]


def test_a_database_that_cannot_be_used_stops_the_start() -> None:
    """ComfyUI logs why, and calls ``sys.exit``."""
    server = SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace()))
    main = SimpleNamespace(args=Namespace(enable_assets=True), server=server, setup_database=lambda: sys.exit(1))
    with pytest.raises(StartError, match="It is not needed: COMFY_ARGS without --enable-assets"):
        versions.set_up_assets(main)


def test_what_assets_find_is_no_message_of_a_job(plain: Found, flagged: Found) -> None:
    for facts in (plain, flagged):
        assert len(facts["during"]) == 1
        assert not any("assets" in name for name in facts["events"])


def test_files_are_not_read_before_they_are_complete(plain: Found, flagged: Found) -> None:
    size = {"kind": "image", "width": SIDE, "height": SIDE}
    assert [metadata for metadata, _ in plain["media"]] == [size] * 2, "ComfyUI leaves such an entry alone"
    assert all(written > 1000 for _, written in flagged["media"]), "for assets it reads each file"


def test_nodes_find_the_metadata_of_the_workflow(plain: Found) -> None:
    assert plain["during"] == [[{}, True]], "and no files are looked for meanwhile"
    assert plain["after"] == [{}, False]


def test_the_metadata_is_that_of_the_prompt() -> None:
    server = SimpleNamespace()
    with pytest.raises(RuntimeError), versions.running(server, {"workflow_metadata": {"id": "a"}}):
        assert server.workflow_metadata == {"id": "a"}
        raise RuntimeError
    assert server.workflow_metadata == {}


def test_partner_nodes(plain: Found, flagged: Found) -> None:
    assert plain["partners"] > 10
    assert flagged["partners"] == 0


def test_disabled_nodes(plain: Found, flagged: Found) -> None:
    assert (plain["blur"], flagged["blur"]) == (True, False)


@pytest.mark.parametrize(("text", "reason"), [("- ImageBlur\n", "must be a mapping"), ("a: [\n", "expected the node")])
def test_a_file_of_disabled_nodes_that_cannot_be_used(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "nodes.yaml").write_text(text)
    governance: dict[str, Any] = {}
    exec(GOVERNANCE, governance)  # noqa: S102 - the source of the tree's module.
    main = SimpleNamespace(
        governance=SimpleNamespace(**governance), args=Namespace(disabled_nodes_config=str(tmp_path / "nodes.yaml"))
    )
    with pytest.raises(SettingsError, match=f"nodes.yaml cannot be used: .*{reason}"):
        versions.disable_nodes(main)


def test_the_newer_file_of_folders_comes_first(flagged: Found) -> None:
    assert "/new-loras" in flagged["loras"]
    assert "/old-loras" not in flagged["loras"]


def test_all_devices_stay_visible(flagged: Found) -> None:
    assert flagged["devices"] is None


def test_the_operator_s_own_level_of_the_log_counts(flagged: Found) -> None:
    """0.38.1 takes the lowest of several, and not the last."""
    assert flagged["levels"] == ["ERROR"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (Namespace(disable_api_nodes=False), True),
        (Namespace(disable_api_nodes=True), False),
        (Namespace(disable_api_nodes=False, disable_partner_nodes=True), False),
        (Namespace(disable_api_nodes=False, disable_partner_nodes=False), True),
    ],
)
def test_which_flags_turn_partner_nodes_off(given: Namespace, wanted: bool) -> None:
    assert versions.wants_partner_nodes(given) is wanted
