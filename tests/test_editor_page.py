"""ComfyUI's own page in Chromium, from ``python -m worker editor``: open a workflow, run it, save it, run it by name.

It needs the page and a way to drive Chromium, which the worker itself does not: docs/development.md says how.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from editor import editor
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = [name for name in ("comfyui_frontend_package", "playwright") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}: docs/development.md"),
]
READY = "() => window.app?.graph && Object.keys(window.LiteGraph?.registered_node_types ?? {}).length > 300"
HAS_RUN = "async () => Object.values(await (await fetch('/history')).json()).some(entry => entry.status.completed)"
# So that the picture for the documentation shows all nodes, beside the list of workflows.
SHOW_ALL = """() => {
    let left = 0
    for (const node of app.graph.nodes) {
        node.setSize([330, 400])
        node.pos = [left, 0]
        left += 370
    }
    app.canvas.ds.scale = 0.68
    app.canvas.ds.offset = [590, 260]
    app.canvas.setDirty(true, true)
}"""


def test_a_workflow_of_the_page_runs_by_name(project: Path, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    workflows, mine = tmp_path / "workflows", tmp_path / "mine"
    settings = mine / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    # Otherwise the page begins with its templates, which are in a package of their own.
    settings.write_text(json.dumps({"Comfy.TutorialCompleted": True, "Comfy.Minimap.Visible": False}))
    Image.open(project / "docs" / "landscape.jpg").save(tmp_path / "in.png")
    places = {"WORKFLOWS_DIR": workflows, "EDITOR_DIR": mine, "NETWORK_VOLUME_PATH": tmp_path / "no"}
    environment = {name: str(place) for name, place in places.items()}
    with editor(tmp_path / "log.txt", environment) as started, sync_playwright() as play:
        with (tmp_path / "in.png").open("rb") as picture:
            requests.post(f"{started.url}/upload/image", files={"image": ("in.png", picture)}, timeout=30)
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 600})
        page.goto(started.url)
        page.wait_for_function(READY, timeout=120_000)
        page.wait_for_timeout(2000)  # The page still opens its own first workflow.
        page.set_input_files("#comfy-file-input", project / "examples" / "scale.json")
        page.wait_for_function("() => app.graph.nodes.length === 3")
        page.keyboard.press("Control+Enter")
        page.wait_for_function(HAS_RUN, timeout=120_000)
        page.keyboard.press("Control+s")
        page.get_by_role("dialog").get_by_role("textbox").fill("square")
        page.keyboard.press("Enter")
        for _ in range(100):
            if (workflows / "square.json").is_file():
                break
            page.wait_for_timeout(100)
        page.keyboard.press("w")  # The list of workflows.
        page.evaluate(SHOW_ALL)
        page.wait_for_timeout(6000)  # What says that it is saved disappears.
        page.screenshot(path=tmp_path / "editor.png")
        browser.close()
    assert "nodes" in json.loads((workflows / "square.json").read_text()), "in the editor's own form"
    command = [sys.executable, "-m", "worker", "run", "square", "--image", str(tmp_path / "in.png"), "--out", "out"]
    where = os.environ | environment
    done = subprocess.run(command, env=where, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    of_both = [Image.open(folder / "scaled_00001_.png") for folder in (mine / "output", tmp_path / "out")]
    assert of_both[0].size == (512, 512)
    assert of_both[0].tobytes() == of_both[1].tobytes()
