"""The page at ``/`` of the local API, in headless Chromium, with real workflows on a real worker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
import requests
from graphs import node, titled
from local_api import serving, sleeping
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import SecretStr
from workbench import CHROMIUM, Workbench, needs_browser

from worker import Worker
from worker.workflows.folder import WorkflowFolder

pytestmark = needs_browser
Open = Callable[..., Workbench]
LARGE_SEED = 18446744073709551557  # JavaScript's numbers do not have it.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """A folder of workflows."""
    folder = tmp_path_factory.mktemp("workflows")
    (folder / "landscape.json").write_bytes((project / "examples" / "landscape.json").read_bytes())
    (folder / "red.json").write_text(json.dumps(titled(graphs.solid(0xFF0000, 16, 16), n1="Canvas")))
    return folder


@pytest.fixture(scope="module")
def url(worker: Worker, folder: Path, tiny_checkpoint: Path) -> Iterator[str]:
    """The address of a local API with everything that the page can show."""
    before = worker.workflows
    worker.workflows = WorkflowFolder(worker.settings.model_copy(update={"workflows_dir": folder}))
    options = {"report_metrics": "full", "progress_previews": True, "progress_interval_s": 0.1}
    with serving(worker, **options) as address:
        yield address
    worker.workflows = before


@pytest.fixture(scope="module")
def browser(worker: Worker) -> Iterator[Any]:
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def bench(browser: Any, url: str) -> Iterator[Open]:
    """Opens the page. In the end, no script has failed and nothing was asked of another server."""
    opened = []

    def open_page(address: str = url, **options: Any) -> Workbench:
        opened.append(Workbench(browser, address, **options))
        return opened[-1]

    yield open_page
    for each in opened:
        each.context.close()
        assert each.said == []
        assert each.not_there == []
        foreign = [asked for asked in each.asked if not asked.startswith((each.url, "blob:", "data:"))]
        assert foreign == []


def test_a_whole_run(bench: Open, project: Path) -> None:
    page = bench()
    page.open(json.loads((project / "examples" / "tiny_text_to_image.json").read_text()), "text_to_image.json")
    page.field("6", "text").fill("a lake at noon")
    for name in ("width", "height"):
        page.field("5", name).fill("128")
    page.field("3", "steps").fill("12")
    page.start()
    page.page.wait_for_selector('[data-node="3"][data-state=running]')
    page.page.wait_for_selector("article .preview:not([hidden])")
    assert "step" in str(page.page.text_content("#bar-text"))
    assert page.state("4") == "done"
    article = page.ended()
    picture = page.picture(article)
    assert picture.size == (128, 128)
    assert {page.state(node_id) for node_id in "3456789"} == {"done"}
    article.get_by_text("Where the time went").click()
    bars = article.locator(".bars").first
    assert "execution" in bars.text_content()
    assert bars.locator(".fill").first.bounding_box()["width"] > 0
    assert "Sampler" in article.locator(".bars").nth(1).text_content()
    (sent,) = page.bodies
    assert sent["input"]["set"] == {
        "Size.width": 128,
        "Size.height": 128,
        "Prompt.text": "a lake at noon",
        "Sampler.steps": 12,
    }


def test_a_workflow_by_its_name(bench: Open, project: Path, tmp_path: Path) -> None:
    page = bench()
    page.page.select_option("#names", "landscape")
    page.page.wait_for_selector("[data-node]")
    nodes = json.loads((project / "examples" / "landscape.json").read_text())
    assert page.page.locator("[data-node]").count() == len(nodes)
    page.page.fill("#filter", "dice")
    assert 0 < page.page.locator("[data-node]:visible").count() < len(nodes)
    seed = page.page.locator('[data-name="seed"]:visible').first
    seed.get_by_role("button").click()
    assert seed.locator("input").first.input_value() != "12"
    page.page.fill("#filter", "")
    article = page.run()
    assert page.picture(article).size[0] > 500
    page.page.evaluate("scrollTo(0, 0)")
    article.get_by_text("Where the time went").click()
    page.screenshot("page", tmp_path)
    assert page.bodies[0]["input"]["workflow"] == "landscape"


def test_a_picture_with_its_workflow_and_an_input_file(bench: Open, png: Callable[..., bytes], tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("prompt", json.dumps(titled(graphs.load("in.png"), n1="Photo")))
    Image.new("RGB", (4, 4)).save(tmp_path / "made.png", pnginfo=info)
    page = bench()
    page.drop("made.png", (tmp_path / "made.png").read_bytes(), on="body")
    page.page.wait_for_selector('[data-node="1"]')
    assert page.page.text_content("#form-title") == "made"
    page.drop("mine.png", png("#102030", (20, 10)), on='[data-node="1"] .drop', kind="image/png")
    assert "mine.png" in page.page.text_content('[data-node="1"] .drop')
    article = page.run()
    assert page.picture(article).convert("RGB").getpixel((0, 0)) == (0x10, 0x20, 0x30)
    with (tmp_path / "other.png").open("wb") as file:
        file.write(png("#ff0000", (8, 8)))
    page.field("1", "image").set_input_files(tmp_path / "other.png")
    assert page.picture(page.run()).size == (8, 8)


def test_errors_stand_at_their_nodes(bench: Open, tmp_path: Path) -> None:
    page = bench()
    graph = titled(graphs.text_to_image(checkpoint="absent.safetensors"), n4="Checkpoint", n3="Sampler")
    page.open(graph)
    checkpoint = page.page.locator('[data-node="4"]')
    assert "not here" in checkpoint.text_content()
    page.run("FAILED")
    assert page.state("4") == "failed"
    assert "'absent.safetensors' is not in the list" in checkpoint.locator(".field .problem").text_content()
    assert page.field("4", "ckpt_name").evaluate("e => e === document.activeElement")
    assert page.field("4", "ckpt_name").get_attribute("aria-invalid") == "true"
    assert "Available checkpoint models" in page.page.text_content("#form-problem")
    page.screenshot("error", tmp_path)
    page.field("4", "ckpt_name").select_option("tiny-sd.safetensors")
    page.field("3", "steps").fill("0")
    page.page.click("#run")
    assert "1 to 10000" in page.page.locator('[data-node="3"] [data-name="steps"] .problem').text_content()
    assert page.page.locator("article").count() == 1, "nothing was sent"
    page.field("3", "steps").fill("1")
    page.run()
    assert page.state("4") == "done"


def test_a_node_that_raises_and_one_that_is_missing(bench: Open) -> None:
    page = bench()
    page.open(graphs.through("TestRaises"))
    page.run("FAILED")
    assert page.state("3") == "failed"
    assert page.page.text_content('[data-node="3"] .problem').strip()
    missing = graphs.editors()
    missing["nodes"][0]["type"] = "NoSuchClass"
    page.open(missing, "edited.json")
    assert page.state("1") == "failed"
    assert "not installed" in page.page.text_content('[data-node="1"] .problem')
    page.drop("nonsense.json", b"\x00\x01nonsense")
    page.page.wait_for_selector("#source-problem:not([hidden])")
    assert "no JSON" in page.page.text_content("#source-problem")


def test_cancel(bench: Open) -> None:
    page = bench()
    page.open(sleeping())
    page.start()
    page.page.wait_for_selector('[data-node="3"][data-state=running]')
    began = time.monotonic()
    page.page.click("#cancel")
    article = page.ended("CANCELLED")
    assert time.monotonic() - began < 5
    assert "Cancelled" in article.text_content()
    assert page.page.is_hidden("#cancel")
    page.open(graphs.solid(0x00FF00), "next.json")
    page.run()


def test_a_run_that_waits_can_be_cancelled(bench: Open) -> None:
    page = bench()
    page.open(sleeping())
    page.start()
    page.start()
    waiting, running = page.page.locator("article").all()
    page.page.wait_for_function("() => document.querySelector('article:last-child .badge').textContent === 'Running'")
    assert waiting.locator(".badge").text_content() == "Waiting"
    running.get_by_role("button", name="Cancel").click()
    page.page.wait_for_selector("article:last-child[data-status=CANCELLED]")
    page.page.wait_for_function("() => document.querySelector('article .badge').textContent === 'Running'")
    page.page.click("#cancel")
    page.ended("CANCELLED")


def test_values_that_the_worker_does_not_tell_stay_as_they_are(bench: Open) -> None:
    graph = titled(graphs.text_to_image(), n3="Sampler")
    graph["4"]["inputs"]["ckpt_name"] = "/somewhere/secret/absent.safetensors"
    page = bench()
    page.open(graph)
    assert page.field("4", "ckpt_name").evaluate("e => e.selectedOptions[0].text") == "as in the workflow"
    page.run("FAILED")
    assert "set" not in page.bodies[0]["input"]


def test_what_set_does_not_take_stands_at_its_field(bench: Open) -> None:
    page = bench()
    page.open(titled(graphs.text_to_image(), n3="Sampler"))
    # The page itself lets nobody send this.
    page.page.route(
        "**/run",
        lambda route: route.continue_(
            post_data=route.request.post_data.replace('"Sampler.steps":3', '"Sampler.steps":0')
        ),
    )
    page.field("3", "steps").fill("3")
    page.run("FAILED")
    assert "must be a whole number from 1" in page.page.text_content('[data-node="3"] [data-name="steps"] .problem')
    assert page.state("3") == "failed"


def test_a_reload_in_the_middle_of_a_job(bench: Open) -> None:
    page = bench()
    page.open(titled(sleeping(4), n1="Canvas"))
    page.field("1", "color").fill("255")
    page.start()
    page.page.wait_for_selector('[data-node="3"][data-state=running]')
    page.page.reload()
    page.page.wait_for_selector('[data-node="3"][data-state=running]')
    assert page.field("1", "color").input_value() == "255"
    article = page.ended()
    assert page.picture(article).convert("RGB").getpixel((0, 0)) == (0, 0, 255)
    page.page.reload()
    assert page.picture(page.ended()).convert("RGB").getpixel((0, 0)) == (0, 0, 255), "and afterwards"
    assert len(page.bodies) == 1, "it was sent once"


def test_the_token_is_asked_for_and_kept_in_the_tab(worker: Worker, bench: Open) -> None:
    with serving(worker, local_api_token=SecretStr("geheim-ß")) as url:
        assert requests.get(url, headers={"Accept": "text/html"}, timeout=5).status_code == 200
        for path in ("/workflows", "/status/x", "/health"):
            assert requests.get(url + path, timeout=5).status_code == 401
        assert requests.post(f"{url}/describe", data=b"{}", timeout=5).status_code == 401
        page = bench(url)
        page.page.wait_for_selector("dialog#token[open]")
        for typed in ("wrong", "geheim-ß"):
            page.page.fill("#token-text", typed)
            page.page.keyboard.press("Enter")
            page.page.wait_for_load_state("networkidle")
            if typed == "wrong":
                page.page.wait_for_selector("#token-problem:not([hidden])")
        page.page.wait_for_selector("dialog#token", state="hidden")
        page.open(graphs.solid(0x0000FF))
        page.run()
        page.page.click("#copy")
        for language in ("curl", "python", "javascript"):
            page.page.click(f"[data-language={language}]")
            code = page.page.text_content("#request pre")
            assert "LOCAL_API_TOKEN" in code
            assert "geheim" not in code
        assert "geheim" not in page.page.content()
        assert page.page.evaluate("Object.entries(localStorage).length + document.cookie.length") == 0
        page.page.reload()
        page.ended()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(bench: Open, scheme: str, png: Callable[..., bytes]) -> None:
    page = bench(color_scheme=scheme)
    assert page.problems() == []
    page.open(titled(graphs.text_to_image(), n6="Prompt"))
    assert page.problems() == []
    first = page.run()
    page.field("3", "seed").fill("2")
    page.run()
    first.get_by_text("Where the time went").click()
    page.page.get_by_text("Where the time went").first.click()
    assert page.problems() == []
    page.page.locator("article button", has_text="Compare").first.click()
    page.page.locator("article button", has_text="Compare").last.click()
    page.page.wait_for_selector("#compare canvas")
    assert page.problems() == []
    page.page.keyboard.press("Escape")
    page.page.click("#copy")
    assert page.problems() == []
    page.page.keyboard.press("Escape")
    page.page.locator(".picture").first.click()
    assert page.problems() == []
    page.page.keyboard.press("Escape")
    page.open(graphs.text_to_image(checkpoint="absent.safetensors"), "wrong.json")
    page.run("FAILED")
    assert page.problems() == []
    page.open(graphs.load("in.png"), "loads.json")
    page.drop("mine.png", png("#102030"), on='[data-node="1"] .drop', kind="image/png")
    page.open(sleeping(), "sleeps.json")
    page.start()
    page.page.wait_for_selector('[data-node="3"][data-state=running]')
    assert page.problems() == []
    page.page.click("#cancel")
    page.ended("CANCELLED")
    page.page.set_viewport_size({"width": 390, "height": 800})
    assert page.problems() == []


def test_two_runs_side_by_side(bench: Open, tmp_path: Path) -> None:
    page = bench()
    # Half of each picture is black in both runs.
    graph = titled({
        "1": node("EmptyImage", width=20, height=10, batch_size=1, color=0x102030),
        "2": node("EmptyImage", width=20, height=10, batch_size=1, color=0),
        "3": node("ImageStitch", image1=["1", 0], image2=["2", 0], direction="right", match_image_size=False,
                  spacing_width=0, spacing_color="black"),
        "4": node("SaveImage", images=["3", 0], filename_prefix="half"),
    }, n1="Colour")  # fmt: skip
    page.open(graph)
    page.run()
    page.field("1", "color").fill(str(0x102530))
    page.run()
    for index in (0, 1):
        page.page.locator("article").nth(index).get_by_role("button", name="Compare").click()
    page.page.wait_for_selector("#compare canvas")
    said = page.page.text_content("#compare [role=status]")
    assert said == "200 of 400 pixels differ (50.0 %): by 5 of 255 at most, by 0.83 on average."
    green = "e => [...e.getContext('2d').getImageData(3, 3, 1, 1).data]"
    assert page.page.eval_on_selector("#compare canvas", green) == [0, 255, 0, 255], "as bright as it gets"
    page.page.select_option("#compare select", "8")
    page.page.wait_for_function(f"() => ({green})(document.querySelector('#compare canvas'))[1] === 40")
    table = page.page.locator("#compare .values").first.text_content()
    assert "Colour.color" in table
    assert str(0x102530) in table
    page.page.keyboard.press("Escape")
    page.page.wait_for_function("() => document.querySelectorAll('[aria-pressed=true]').length === 0")


def test_the_comparison_in_the_documentation(bench: Open, tmp_path: Path) -> None:
    page = bench(color_scheme="dark")
    page.page.select_option("#names", "landscape")
    page.page.wait_for_selector("[data-node]")
    page.run()
    page.page.fill("#filter", "dice")
    page.page.locator('[data-name="seed"]:visible').first.get_by_role("button").click()
    page.run()
    for index in (0, 1):
        page.page.locator("article").nth(index).get_by_role("button", name="Compare").click()
    page.page.wait_for_selector("#compare canvas")
    assert "pixels differ" in page.page.text_content("#compare [role=status]")
    page.screenshot("compare", tmp_path)


@pytest.mark.parametrize("language", ["curl", "python", "javascript"])
def test_the_copied_request_runs(bench: Open, png: Callable[..., bytes], tmp_path: Path, language: str) -> None:
    program = {"curl": "bash", "python": sys.executable, "javascript": "node"}[language]
    if shutil.which(program) is None or shutil.which("curl") is None:
        pytest.skip(f"needs {program} and curl")
    page = bench()
    name = "it's $(mine) `x`.png"
    graph = graphs.load("in.png")
    graph["1"]["_meta"] = {"title": 'A "quoted" $HOME `title` \\ with null, true'}
    graph["3"] = node("KSamplerSelect", sampler_name="euler")  # Not run: nothing needs it.
    page.open(graph)
    page.drop(name, png("#102030", (7, 5)), on='[data-node="1"] .drop', kind="image/png")
    (tmp_path / name).write_bytes(png("#302010", (7, 5)))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.page.click("#copy")
    page.page.click(f"[data-language={language}]")
    page.page.get_by_role("button", name="Copy", exact=True).click()
    page.page.wait_for_function("() => document.querySelector('#request .dialog-foot p').textContent === 'Copied'")
    code = page.page.evaluate("navigator.clipboard.readText()")
    file = tmp_path / {"curl": "it.sh", "python": "it.py", "javascript": "it.mjs"}[language]
    file.write_text(code)
    done = subprocess.run([program, file], cwd=tmp_path, capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 0, done.stderr
    if language == "curl":
        assert json.loads(done.stdout)["status"] == "COMPLETED", done.stdout
    else:
        assert done.stdout.split()[0] == "COMPLETED"
        with Image.open(tmp_path / "ComfyUI_00001_.png") as picture:
            assert picture.convert("RGB").getpixel((0, 0)) == (0x30, 0x20, 0x10), "the file beside the program"


def test_large_seeds_keep_their_digits(bench: Open) -> None:
    page = bench()
    graph = titled(graphs.text_to_image(seed=LARGE_SEED), n3="Sampler")
    page.open(graph)
    assert page.field("3", "seed").input_value() == str(LARGE_SEED)
    page.run()
    page.field("3", "seed").press("ArrowDown")
    page.run()
    untouched, lower = page.bodies
    assert untouched["input"]["workflow"]["3"]["inputs"]["seed"] == LARGE_SEED
    assert lower["input"]["set"] == {"Sampler.seed": LARGE_SEED - 1}
    page.page.locator('[data-name="seed"] input[type=checkbox]').check()
    page.run()
    page.run()
    rolled = [body["input"]["set"]["Sampler.seed"] for body in page.bodies[2:]]
    assert len(set(rolled)) == 2


def test_every_kind_of_result(bench: Open, worker: Worker) -> None:
    graph = {
        "1": node("EmptyImage", width=64, height=48, batch_size=3, color=0xFF),
        "2": node("SaveAnimatedWEBP", images=["1", 0], filename_prefix="moving", fps=4.0, lossless=True, quality=80,
                  method="default"),
        "3": node("SaveWEBM", images=["1", 0], filename_prefix="clip", codec="vp9", fps=3.0, crf=32.0),
        "4": node("EmptyAudio", duration=1.0, sample_rate=44100, channels=2),
        "5": node("SaveAudio", audio=["4", 0], filename_prefix="sound"),
        "6": node("TestMakesVoxels"),
        "7": node("VoxelToMeshBasic", voxel=["6", 0], threshold=0.5),
        "8": node("SaveGLB", mesh=["7", 0], filename_prefix="mesh"),
        "9": node("PrimitiveInt", value=42),
        "10": node("PreviewAny", source=["9", 0]),
        "11": node("EmptyLatentImage", width=64, height=32, batch_size=1),
        "12": node("SaveLatent", samples=["11", 0], filename_prefix="latent"),
    }  # fmt: skip
    page = bench()
    page.open(graph)
    article = page.run()
    assert article.locator("img").count() == 1
    assert article.locator("video").count() == 1
    assert article.locator("audio").count() == 1
    assert "42" in article.locator("pre").all_text_contents()
    article.locator(".card", has_text="3D model").get_by_text("vertices").wait_for()
    names = article.locator("figcaption a").all_text_contents()
    assert {name.rpartition(".")[2] for name in names} == {"webp", "webm", "flac", "glb", "latent"}
    for kind in ("video", "audio"):
        assert article.locator(kind).evaluate(
            """async (media) => {
                while (media.readyState < 1 && !media.error) await new Promise((done) => setTimeout(done, 50))
                return media.duration
            }"""
        ) == pytest.approx(1.0, abs=0.1)
    with page.page.expect_download() as download:
        article.locator("figcaption a", has_text=".glb").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"glTF"


def test_what_a_workflow_says_is_never_markup(bench: Open) -> None:
    evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    graph = titled(graphs.solid(), n1=evil, n2=evil)
    graph["2"]["inputs"]["filename_prefix"] = "a<b>&amp;"
    graph["3"] = node("PrimitiveString", value=evil)
    graph["4"] = node("PreviewAny", source=["3", 0])
    page = bench()
    page.open(graph)
    article = page.run()
    assert evil in article.locator("pre").text_content()
    assert "Workbench" in page.page.title()
    page.page.click("#copy")
    assert evil.split('"')[0] in page.page.text_content("#request pre")


def test_by_keyboard_alone(bench: Open) -> None:
    page = bench()
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.className") == "skip"
    for _ in range(20):
        if page.page.evaluate("document.activeElement.id") == "names":
            break
        page.page.keyboard.press("Tab")
    page.page.keyboard.type("red")
    page.page.wait_for_selector('[data-node="1"]')
    for _ in range(20):
        if page.page.evaluate("document.activeElement.closest('[data-name=color]') !== null"):
            break
        page.page.keyboard.press("Tab")
    page.page.keyboard.press("Control+a")
    page.page.keyboard.type("255")
    page.page.keyboard.press("Control+Enter")
    article = page.ended()
    assert page.picture(article).convert("RGB").getpixel((0, 0)) == (0, 0, 255)
    assert "red: Done" in page.page.text_content("#told")


def test_on_a_phone(bench: Open, tmp_path: Path) -> None:
    page = bench(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.page.select_option("#names", "landscape")
    page.page.wait_for_selector("[data-node]")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.page.evaluate(wide) == 0
    article = page.run()
    assert page.page.evaluate(wide) == 0
    article.scroll_into_view_if_needed()
    page.page.evaluate("document.querySelector('#results').scrollIntoView()")
    page.screenshot("phone", tmp_path)


def test_a_connection_that_breaks(bench: Open) -> None:
    page = bench()
    page.open(sleeping(3))
    page.context.set_offline(True)
    page.page.click("#run")
    page.page.wait_for_selector("#form-problem:not([hidden])")
    assert "does not answer" in page.page.text_content("#form-problem")
    page.context.set_offline(False)
    page.start()
    page.page.wait_for_selector('[data-node="3"][data-state=running]')
    page.context.set_offline(True)
    page.page.get_by_text("does not answer").first.wait_for()
    page.context.set_offline(False)
    page.ended()
