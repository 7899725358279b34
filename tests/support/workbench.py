"""The page of the local API in headless Chromium, as a person at it uses it."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_PACKAGES = ("playwright", "axe_playwright_python")
MISSING = [*(["Chromium"] if CHROMIUM is None else []), *(n for n in _PACKAGES if importlib.util.find_spec(n) is None)]
needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}: docs/development.md")
# A folder, such as docs/page: then the pictures of the documentation are written there.
SCREENSHOTS = os.environ.get("PAGE_SCREENSHOTS")
_DONE = 90_000  # Milliseconds.


class Workbench:
    """One tab with the page.

    ``said``: warnings and errors of its scripts. ``asked``: addresses of all requests. ``not_there``: files of the page
    that did not come. ``bodies``: what was sent to ``/run``.
    """

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.context.set_default_timeout(_DONE)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.not_there: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._note)
        self.page.on("response", self._look)
        self.page.goto(url)
        self.page.wait_for_load_state("networkidle")

    def _hear(self, line: Any) -> None:
        # The browser itself tells of each refusal of the API, and how the tests could read pixels faster.
        if line.type in ("error", "warning") and not line.text.startswith(("Failed to load resource", "Canvas2D")):
            self.said.append(line.text)

    def _look(self, response: Any) -> None:
        if "/page/" in response.url and not response.ok:
            self.not_there.append(response.url)

    def _note(self, request: Any) -> None:
        self.asked.append(request.url)
        if request.url.endswith("/run"):
            self.bodies.append(json.loads(request.post_data))

    def drop(self, name: str, content: bytes | dict[str, Any], on: str = "#drop", kind: str = "") -> None:
        """Drop a file on an element."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        transfer = self.page.evaluate_handle(
            """([name, data, type]) => {
                const transfer = new DataTransfer()
                transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, {type}))
                return transfer
            }""",
            [name, base64.b64encode(data).decode(), kind],
        )
        self.page.dispatch_event(on, "drop", {"dataTransfer": transfer})

    def open(self, graph: dict[str, Any], name: str = "drawn.json") -> None:
        """Drop a workflow, and wait until its form is there."""
        self.drop(name, graph)
        self.page.wait_for_function(
            "title => document.getElementById('form-title').textContent === title", arg=name.rpartition(".")[0]
        )

    def field(self, node_id: str, name: str) -> Any:
        """The control of an input."""
        return self.page.locator(f'[data-node="{node_id}"] [data-name="{name}"] .control > :first-child')

    def run(self, status: str = "COMPLETED") -> Any:
        """Press Run, and wait for the end. Returns the run's article."""
        self.start()
        return self.ended(status)

    def start(self) -> None:
        """Press Run, and wait until the job is taken."""
        before = self.page.locator("article").count()
        self.page.click("#run")
        self.page.wait_for_function("count => document.querySelectorAll('article').length > count", arg=before)

    def ended(self, status: str = "COMPLETED") -> Any:
        """The newest run's article, once it has this status."""
        self.page.wait_for_selector(f"article:first-child[data-status={status}]", timeout=_DONE)
        return self.page.locator("article").first

    def state(self, node_id: str) -> str:
        """What the light of a node shows."""
        return str(self.page.get_attribute(f'[data-node="{node_id}"]', "data-state"))

    def picture(self, article: Any) -> Image.Image:
        """The first picture of a run, as the page has it."""
        data = article.locator("figure img").first.evaluate(
            """async (image) => {
                await image.decode()
                const canvas = document.createElement('canvas')
                Object.assign(canvas, {width: image.naturalWidth, height: image.naturalHeight})
                canvas.getContext('2d').drawImage(image, 0, 0)
                return canvas.toDataURL().split(',')[1]
            }"""
        )
        return Image.open(io.BytesIO(base64.b64decode(data)))

    def problems(self) -> list[str]:
        """What axe finds."""
        from axe_playwright_python.sync_playwright import Axe

        self.page.wait_for_timeout(400)  # Colours that change are of no use.
        found: Iterable[dict[str, Any]] = Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']}: {part['html'][:200]} {part['failureSummary']}" for rule in found for part in rule["nodes"]
        ]

    def screenshot(self, name: str, folder: Path) -> None:
        """Take a picture. It is small: few colours are enough for a page."""
        self.page.wait_for_timeout(300)
        data = self.page.screenshot()
        target = Path(SCREENSHOTS) if SCREENSHOTS else folder
        target.mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(data)) as picture:
            small = picture.convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE)
            small.save(target / f"{name}.png", optimize=True)
