"""SaveImage in threads: the same pixels and names as ComfyUI's own, and nobody sees half a file."""

from __future__ import annotations

import asyncio
import base64
import importlib
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from PIL import Image

from worker import Worker
from worker.answer.reply import Answer
from worker.embedded.save_image import to_pixels
from worker.handler import make_handler
from worker.images.encoder import ImageEncoder, JobImages
from worker.images.formats import PNG, ImageFormat
from worker.images.png import encode_strip
from worker.images.webp_jpeg import AlphaLost, encode_webp_jpeg

Ask = Callable[..., Answer]


@pytest.fixture
def ask(worker: Worker) -> Ask:
    """Gives a workflow to the handler."""

    def run(graph: dict[str, Any], **more: Any) -> Answer:
        return asyncio.run(make_handler(worker)({"id": "job", "input": {"workflow": graph, **more}}))

    return run


@pytest.fixture
def stock(worker: Worker) -> Iterator[Callable[[Any, str], list[Path]]]:
    """ComfyUI's own ``save_images``, called by itself; its files."""
    nodes = importlib.import_module("nodes")
    output = worker.runtime.state.output if worker.runtime else Path()

    def save(images: Any, prefix: str) -> list[Path]:
        method = nodes.SaveImage.save_images.__wrapped__
        return [output / entry["filename"] for entry in method(nodes.SaveImage(), images, prefix)["ui"]["images"]]

    yield save
    for path in output.glob("stock*"):
        path.unlink()


def large(color: int, batch: int = 1) -> dict[str, Any]:
    """A picture that is not small, so that it is encoded in a thread."""
    return graphs.solid(color, width=160, height=160, batch=batch)


def opened(entry: dict[str, str]) -> Image.Image:
    """The picture of an entry."""
    image = Image.open(io.BytesIO(base64.b64decode(entry["data"])))
    image.load()
    return image


def tensor(kind: str, height: int, width: int, channels: int) -> Any:
    """Images as nodes hand them on, with values that nobody would expect among them."""
    torch = importlib.import_module("torch")
    images = torch.rand(2, height, width, channels, generator=torch.Generator().manual_seed(3))
    if kind == "odd values":
        odd = torch.tensor([-1.0, 2.0, 0.999999, 1e-9, float("inf"), float("-inf"), 254.9999 / 255, 0.5])
        flat = images.flatten()
        flat[: min(len(odd), len(flat))] = odd[: len(flat)]
        images = flat.reshape(images.shape)
    if kind == "not contiguous":
        images = images.transpose(1, 2).contiguous().transpose(1, 2)
    return images.half() if kind == "half" else images


@pytest.mark.parametrize("kind", ["plain", "odd values", "not contiguous", "half"])
@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 1, 3), (65, 33, 4), (129, 1, 3), (300, 517, 4)])
def test_pixels_are_those_of_comfyui(stock: Any, kind: str, shape: tuple[int, int, int]) -> None:
    images = tensor(kind, *shape)
    for image, path in zip(images, stock(images, "stock"), strict=True):
        assert np.array_equal(to_pixels(image.numpy()), np.asarray(Image.open(path)))


def test_a_batch_comes_in_order(ask: Ask) -> None:
    graph = {
        str(index): graphs.node("EmptyImage", width=300, height=200, batch_size=1, color=index) for index in range(6)
    }
    for index in range(1, 6):
        previous = ["0", 0] if index == 1 else [f"b{index - 1}", 0]
        graph[f"b{index}"] = graphs.node("ImageBatch", image1=previous, image2=[str(index), 0])
    graph["9"] = graphs.node("SaveImage", images=["b5", 0], filename_prefix="n%batch_num%")
    images = ask(graph)["images"]
    assert [entry["filename"] for entry in images] == [f"n{index}_{index + 1:05}_.png" for index in range(6)]
    assert [opened(entry).getpixel((0, 0)) for entry in images] == [(0, 0, index) for index in range(6)]


def test_a_node_of_a_pack_finds_whole_files(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs after SaveImage and opens what lies in the output folder."""
    graph = {"1": graphs.node("TestMakesNoise", width=900, height=900)}
    graph["2"] = graphs.node("SaveImage", images=["1", 0], filename_prefix="early")
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="early_00001_.png")
    graph["4"] = graphs.node("TestOpensOutputs", image=["3", 0])

    def slow(pixels: Any, rows: range) -> Any:
        time.sleep(0.3)
        return encode_strip(pixels, rows)

    monkeypatch.setattr("worker.images.encoder.encode_strip", slow)
    answer = ask(graph)
    assert "errors" not in answer
    assert answer["text"][0]["text"] == "early_00001_.png 900x900"


def test_a_node_that_uses_save_image_finds_its_files(ask: Ask) -> None:
    answer = ask(
        {
            "1": graphs.node("TestMakesNoise", width=700, height=700),
            "2": graphs.node("TestUsesSaveImage", images=["1", 0]),
        }
    )
    assert answer["text"] == [{"node_id": "2", "text": "700x700"}]
    assert len(answer["images"]) == 1


@pytest.mark.parametrize(("height", "width"), [(0, 64), (64, 0)])
def test_a_picture_without_pixels_is_an_error(ask: Ask, height: int, width: int) -> None:
    graph = graphs.solid()
    graph["1"] = graphs.node("TestMakesNoise", width=width, height=height)
    assert ask(graph)["error"] == "Job processing failed"
    assert "images" in ask(graphs.solid(77)), "nothing hangs"


def test_no_thread_is_an_error_of_the_job(ask: Ask, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    encoder = worker.runtime.files.encoder if worker.runtime else None
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "_pool", type("Pool", (), {"submit": staticmethod(none)})())
        assert ask(large(78))["details"] == ["An image could not be saved: ComfyUI_00001_.png: can't start new thread"]
    assert "images" in ask(graphs.solid(78))


def test_the_last_of_two_files_of_one_name_counts(ask: Ask) -> None:
    """``%batch_num%`` makes names that repeat."""
    graph = {"1": graphs.node("TestMakesNoise", width=1500, height=1500)}
    graph["2"] = graphs.node("SaveImage", images=["1", 0], filename_prefix="n%batch_num%")
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="n0_00001_.png")
    graph["4"] = graphs.node("ImageScale", image=["3", 0], upscale_method="area", width=8, height=8, crop="disabled")
    graph["5"] = graphs.node("SaveImage", images=["4", 0], filename_prefix="n%batch_num%")
    images = ask(graph)["images"]
    assert opened(images[-1]).size == (8, 8)


@pytest.mark.parametrize("prefix", ["\0", "x" * 300, "a\0/b", "\ud800"])
@pytest.mark.parametrize("picture", [graphs.solid, large])
@pytest.mark.parametrize("output_format", ["png", "webp"])
def test_a_name_that_no_file_can_have_is_an_error_of_the_job(
    ask: Ask, prefix: str, picture: Callable[[int], dict[str, Any]], output_format: str
) -> None:
    graph = picture(0x112233)
    graph["2"]["inputs"]["filename_prefix"] = prefix
    answer = ask(graph, output_format=output_format)
    assert (answer["error"], answer["error_type"]) == ("Job processing failed", "workflow_execution")
    assert "images" in ask(picture(0x112233), output_format=output_format)


def test_one_failed_image_is_not_for_ever(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def once(pixels: Any, rows: range) -> Any:
        calls.append(rows)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return encode_strip(pixels, rows)

    with monkeypatch.context() as patch:
        patch.setattr("worker.images.encoder.encode_strip", once)
        first = ask(large(0x332211, batch=3))
    assert len(first["images"]) == 2
    assert len(first["errors"]) == 1
    again = ask(large(0x332211, batch=3))
    assert len(again["images"]) == 3
    assert "errors" not in again


def test_names_that_other_formats_would_share(ask: Ask) -> None:
    graph = graphs.solid(0x110000)
    graph["2"] = graphs.node("TestInheritsSaveImage", images=["1", 0], filename_prefix="a")
    graph["3"] = graphs.node("EmptyImage", width=32, height=32, batch_size=1, color=0x00FF00)
    graph["4"] = graphs.node("TestSavesPicture", image=["3", 0], filename="a_own_00001_.webp")
    first, second = ask(graph, output_format="webp", output_quality=100)["images"]
    assert {first["filename"], second["filename"]} == {"a_own_00001_.webp", "a_own_00001_-2.webp"}
    assert {opened(entry).size for entry in (first, second)} == {(64, 64), (32, 32)}


def test_what_is_no_picture_arrives_as_it_is(ask: Ask) -> None:
    graph = {"1": graphs.node("TestSavesFile", key="images", subfolder="", filename="no.png", content="no picture")}
    answer = ask(graph, output_format="webp")
    assert answer["images"][0]["filename"] == "no.png"
    assert answer["warnings"] == ["no.png is sent as it is: it is no picture (UnidentifiedImageError)"]
    assert "errors" not in answer


def test_sixteen_bits_become_eight() -> None:
    ramp = Image.fromarray((np.arange(65536, dtype=np.uint32).reshape(256, 256)).astype(np.uint16))
    shown = np.asarray(Image.open(io.BytesIO(encode_webp_jpeg(ramp, ImageFormat("webp", 100)))).convert("L"))
    assert abs(float(shown.mean()) - 127.5) < 2


def test_subclasses_and_previews_behave_as_ever(ask: Ask) -> None:
    graph = graphs.solid(0x010203) | {
        "3": graphs.node("PreviewImage", images=["1", 0]),
        "4": graphs.node("TestInheritsSaveImage", images=["1", 0], filename_prefix="mine"),
    }
    images = ask(graph)["images"]
    assert [entry["filename"] for entry in images] == ["ComfyUI_00001_.png", "mine_own_00001_.png"]
    assert opened(images[1]).getpixel((0, 0)) == (1, 2, 3)


def test_an_encoder_that_fails_fails_its_job_alone(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def broken(*_: object) -> None:
            raise MemoryError("no room")

        patch.setattr("worker.images.encoder.encode_strip", broken)
        answer = ask(large(0x0A0B0C))
    assert answer["error"] == "Job processing failed"
    assert answer["details"] == ["An image could not be saved: ComfyUI_00001_.png: no room"]
    assert len(ask(large(0x0A0B0C))["images"]) == 1, "the next job is right, and nothing was kept"


@pytest.mark.parametrize(
    ("name", "suffix", "media_type"),
    [("webp", ".webp", "image/webp"), ("jpeg", ".jpg", "image/jpeg"), ("JPG", ".jpg", "image/jpeg")],
)
def test_other_formats(ask: Ask, name: str, suffix: str, media_type: str) -> None:
    (entry,) = ask(graphs.solid(0x336699), output_format=name, output_quality=80)["images"]
    assert (entry["filename"], entry["media_type"]) == (f"ComfyUI_00001_{suffix}", media_type)
    assert np.allclose(np.asarray(opened(entry).convert("RGB"))[5, 5], (0x33, 0x66, 0x99), atol=6)
    (png,) = ask(graphs.solid(0x336699))["images"]
    assert png["media_type"] == "image/png", "the next job asks for none"
    assert opened(png).getpixel((5, 5)) == (0x33, 0x66, 0x99)


def test_quality_counts(ask: Ask) -> None:
    graph = {
        "1": graphs.node("TestMakesNoise", width=256, height=256),
        "2": graphs.node("SaveImage", images=["1", 0], filename_prefix="q"),
    }
    sizes = [
        len(ask(graph, output_format="webp", output_quality=quality)["images"][0]["data"]) for quality in (5, 60, 100)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] < sizes[2]


def test_other_nodes_pictures_are_converted_too(ask: Ask) -> None:
    graph = graphs.solid(0x336699)
    graph["2"] = graphs.node("TestInheritsSaveImage", images=["1", 0], filename_prefix="mine")
    (entry,) = ask(graph, output_format="webp")["images"]
    assert entry["filename"] == "mine_own_00001_.webp"
    assert opened(entry).format == "WEBP"


@pytest.mark.backends("embedded", "websocket")
def test_a_picture_with_transparency_is_no_jpeg_and_not_lost(ask: Ask) -> None:
    graph = graphs.solid()
    graph["5"] = graphs.node("SolidMask", value=0.5, width=64, height=64)
    graph["6"] = graphs.node("JoinImageWithAlpha", image=["1", 0], alpha=["5", 0])
    graph["2"]["inputs"]["images"] = ["6", 0]
    (entry,) = ask(graph, output_format="webp")["images"]
    assert opened(entry).mode == "RGBA"
    for _ in range(2):  # The second time from ComfyUI's cache.
        answer = ask(graph, output_format="jpeg")
        (entry,) = answer["images"]
        assert (entry["media_type"], opened(entry).format, opened(entry).mode) == ("image/png", "PNG", "RGBA")
        assert entry["filename"].endswith(".png")
        text = "JPEG has no transparency, and this image has: use output_format png or webp"
        assert answer["warnings"] == [f"{entry['filename']} is sent as PNG: {text}"]
        assert set(answer) == {"images", "warnings"}


def test_only_the_transparent_pictures_of_a_batch_stay_png(ask: Ask) -> None:
    graph = {
        "1": graphs.node("EmptyImage", width=160, height=160, batch_size=1, color=0xFF0000),
        "2": graphs.node("SolidMask", value=0.0, width=160, height=160),
        "3": graphs.node("SolidMask", value=0.5, width=160, height=160),
        "4": graphs.node("JoinImageWithAlpha", image=["1", 0], alpha=["2", 0]),
        "5": graphs.node("JoinImageWithAlpha", image=["1", 0], alpha=["3", 0]),
        "6": graphs.node("ImageBatch", image1=["4", 0], image2=["5", 0]),
        "7": graphs.node("SaveImage", images=["6", 0], filename_prefix="mixed"),
    }
    answer = ask(graph, output_format="jpeg")
    names = [entry["filename"] for entry in answer["images"]]
    assert names == ["mixed_00001_.jpg", "mixed_00002_.png"]
    assert len(answer["warnings"]) == 1


@pytest.mark.parametrize("class_type", ["SaveImage", "TestInheritsSaveImage"])
def test_a_picture_that_is_too_long_for_its_format_stays_png(ask: Ask, class_type: str) -> None:
    graph = graphs.solid(0x123456, width=16_384, height=16)
    graph["2"]["class_type"] = class_type
    answer = ask(graph, output_format="webp")
    (entry,) = answer["images"]
    assert (entry["media_type"], opened(entry).size) == ("image/png", (16_384, 16))
    text = "WebP takes at most 16383 pixels a side, and this image has 16384 x 16"
    assert answer["warnings"] == [f"{entry['filename']} is sent as PNG: {text}"]
    assert "errors" not in answer


@pytest.mark.parametrize("class_type", ["SaveImage", "TestInheritsSaveImage", "TestUsesSaveImage"])
@pytest.mark.parametrize("picture", [graphs.solid, large])
def test_a_picture_that_its_format_cannot_take_comes_as_png(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, class_type: str, picture: Callable[[int], dict[str, Any]]
) -> None:
    """As WebP does with pictures that are too complex. Then the next job has it as it was meant."""

    def too_complex(*_: object) -> bytes:
        raise ValueError("encoding error 6: Partition #0 is too big to fit 512k")

    graph = picture(0x225577)
    graph["2"] = graphs.node(class_type, images=["1", 0])
    if class_type != "TestUsesSaveImage":
        graph["2"]["inputs"]["filename_prefix"] = "hard"
    with monkeypatch.context() as patch:
        patch.setattr("worker.images.encoder.encode_webp_jpeg", too_complex)
        patch.setattr("worker.answer.conversion.encode_webp_jpeg", too_complex)
        answer = ask(graph, output_format="webp")
    (entry,) = answer["images"]
    assert (entry["filename"].rpartition(".")[2], entry["media_type"]) == ("png", "image/png")
    assert opened(entry).getpixel((0, 0)) == (0x22, 0x55, 0x77)
    assert answer["warnings"] == [f"{entry['filename']} is sent as PNG: WebP cannot be made of it (ValueError)"]
    assert "errors" not in answer
    again = ask(graph, output_format="webp")
    assert [entry["media_type"] for entry in again["images"]] == ["image/webp"]


def test_a_full_disk_costs_the_conversion_not_the_picture(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graphs.solid(0x336690)
    graph["2"] = graphs.node("TestInheritsSaveImage", images=["1", 0], filename_prefix="full")
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.suffix == ".webp":
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    answer = ask(graph, output_format="webp")
    assert [entry["filename"] for entry in answer["images"]] == ["full_own_00001_.png"]
    text = "full_own_00001_.png is sent as PNG: WebP cannot be written (No space left on device)"
    assert (answer["warnings"], "errors" in answer) == ([text], False)


@pytest.mark.parametrize("side", [8, 512])
def test_metadata_that_no_file_can_hold_cost_no_picture(tmp_path: Path, side: int) -> None:
    """Such as a node may add: a request with such names is refused."""
    names = ["作者", "", "a\0b", "x" * 80]
    images = JobImages(ImageEncoder(), None)
    texts = images.texts({"1": {}}, dict.fromkeys(names, "me") | {"author": "me", "object": object()})
    images.add(tmp_path / "a.png", np.zeros((side, side, 3), np.uint8), texts, PNG)
    assert images.finish() == []
    with Image.open(tmp_path / "a.png") as image:
        assert {name: json.loads(text) for name, text in getattr(image, "text").items()} == {  # noqa: B009
            "author": "me",
            "prompt": {"1": {}},
        }
    lines = [f"The images have no metadata '{name}': no file can hold it" for name in (*names, "object")]
    assert images.warnings == lines


def test_a_workflow_that_is_too_long_for_a_jpeg_costs_no_picture(ask: Ask) -> None:
    extra = {"extra_pnginfo": {"workflow": {"nodes": ["x" * 70_000]}}}
    answer = ask(graphs.solid(0x0F1F20), output_format="jpeg", save_metadata=True, extra_data=extra)
    assert opened(answer["images"][0]).format == "JPEG"
    assert answer["warnings"] == ["ComfyUI_00001_.jpg has no metadata: the workflow is too long for its format"]
    assert "errors" not in answer


def test_a_picture_that_is_opaque_becomes_a_jpeg() -> None:
    opaque = Image.new("RGBA", (8, 8), (1, 2, 3, 255))
    assert Image.open(io.BytesIO(encode_webp_jpeg(opaque, ImageFormat("jpeg")))).mode == "RGB"
    with pytest.raises(AlphaLost):
        encode_webp_jpeg(Image.new("RGBA", (8, 8), (1, 2, 3, 254)), ImageFormat("jpeg"))


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"output_format": "gif"}, "'output_format' must be 'png', 'webp' or 'jpeg', not 'gif'"),
        ({"output_format": 5}, "'output_format' must be 'png', 'webp' or 'jpeg', not 5"),
        ({"output_quality": 0}, "'output_quality' must be a whole number from 1 to 100, not 0"),
        ({"output_quality": True}, "'output_quality' must be a whole number from 1 to 100, not True"),
        ({"output_quality": "90"}, "'output_quality' must be a whole number from 1 to 100, not '90'"),
    ],
)
def test_formats_that_make_no_sense(ask: Ask, more: dict[str, Any], error: str) -> None:
    assert ask(graphs.solid(), **more) == {"error": error, "error_type": "invalid_input"}


def test_a_default_format(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = worker.settings.model_copy(update={"output_format": "webp", "output_quality": 70})
    monkeypatch.setattr(worker, "settings", changed)
    answer = asyncio.run(make_handler(worker)({"id": "a", "input": {"workflow": graphs.solid(7)}}))
    assert answer["images"][0]["filename"] == "ComfyUI_00001_.webp"
