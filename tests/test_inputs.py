"""Staging: what a caller sends becomes files in the job's folder, or one line each."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from worker.errors import InputsRefused, InvalidJob
from worker.job.files.staging import InputLimits, stage
from worker.job.job import InputImage
from worker.job.notices import unused_files
from worker.job.parse import parse_job
from worker.protocol.spelling import respell

LIMITS = InputLimits(max_bytes=100_000, max_pixels=1_000_000)


def refused(folder: Path, *images: InputImage) -> list[str]:
    """The lines with which ``images`` are refused."""
    with pytest.raises(InputsRefused) as caught:
        stage(images, folder, LIMITS)
    answer = caught.value.answer()
    assert answer["error"] == "Failed to upload one or more input images"
    details = answer["details"]
    assert isinstance(details, list)
    return details


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: "data:image/png;base64," + text,
        lambda text: "DATA:image/png;charset=utf-8;BASE64," + text,
        lambda text: "\n".join(text[i : i + 60] for i in range(0, len(text), 60)) + "\r\n",
        lambda text: "  \n data:image/png;base64,\n" + text,
        lambda text: f'"{text}"',
        lambda text: f"'data:image/png;base64,{text}' ",
        lambda text: '\ufeff "image/png;base64,' + text + '"',
        lambda text: ";base64," + text,
        lambda text: "base64," + text,
        lambda text: "data:image/png; base64, " + text,
        lambda text: "data:image/png;base64;charset=utf-8," + text,
        lambda text: str(text.encode()),
        lambda text: f"b'data:image/png;base64,{text}'",
        lambda text: f"data:image/png;base64,b'{text}'",
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: text.rstrip("="),
        lambda text: "data:image/png;base64," + quote(text, safe=""),
        lambda text: quote("data:image/png;base64," + text.replace("+", "-").replace("/", "_").rstrip("="), safe=":;,"),
    ],
)
def test_base64_in_all_its_clothes(tmp_path: Path, png: Callable[..., bytes], wrap: Callable[[str], str]) -> None:
    for extra in range(3):  # With no, two and one character of padding.
        data = png() + bytes(-len(png()) % 3) + b"\xfb\xff\xbf" + bytes(extra)
        encoded = base64.b64encode(data).decode()
        assert {"+", "/"} <= set(encoded)
        stage([InputImage("sub/a.png", wrap(encoded))], tmp_path, LIMITS)
        assert (tmp_path / "sub" / "a.png").read_bytes() == data


def test_bytes_are_taken_as_they_are(tmp_path: Path, png: Callable[..., bytes]) -> None:
    stage([InputImage("a.png", png())], tmp_path, LIMITS)
    assert (tmp_path / "a.png").read_bytes() == png()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not base64!", "'!' at position 9 is no character of base64"),
        ("QUJ", "it ends in the middle of a byte: its end is missing"),
        ("QUJDQ", "it has 5 characters: one or more are missing"),
        ("QUJD====QUJD", "something follows the padding '='"),
        ("QUJD-_+/", "it mixes two alphabets, the usual one (+ and /) and the URL-safe one (- and _)"),
        ("data:image/png;base64,%%%", "'%' at position 0 is no character of base64"),
        ("data:image/png;base64,ÄÖÜ", "'\\xc4' at position 0 is no character of base64"),
        ("blob:https://example.com/1-2-3", "':' at position 4 is no character of base64"),
    ],
)
def test_what_is_no_base64_or_could_mean_several_things(tmp_path: Path, text: str, why: str) -> None:
    (line,) = refused(tmp_path, InputImage("a.png", text))
    assert line == f"Error decoding base64 for a.png: {why}"
    assert not list(tmp_path.iterdir())


def test_each_bad_image_has_its_line(tmp_path: Path, png: Callable[..., bytes]) -> None:
    lines = refused(
        tmp_path,
        InputImage("bad.png", "???"),
        InputImage("good.png", png()),
        InputImage("text.png", base64.b64encode(b"plain text").decode()),
        InputImage("large.png", b"\0" * 100_001),
        InputImage("larger.png", "A" * 1_000_000),
        InputImage("wide.png", png("red", (2000, 2000))),
    )
    assert lines[0].startswith("Error decoding base64 for bad.png: ")
    assert lines[1:] == [
        "Error reading text.png: it is no image, video, audio, latent or 3D model",
        "Error reading large.png: it has 0.1 MB, the limit is 0.1 MB",
        "Error reading larger.png: it has 0.8 MB, the limit is 0.1 MB",
        "Error reading wide.png: it has 4000000 pixels, the limit is 1000000",
    ]


def test_a_file_and_a_folder_of_one_name(tmp_path: Path, png: Callable[..., bytes]) -> None:
    lines = refused(tmp_path, InputImage("a", png()), InputImage("a/b.png", png()))
    assert lines == ["Error storing a/b.png: another image has the name of one of its folders"]


FILLERS = (
    " ", "\n", "\\", "é", "=", "%", "%41", "-", ";", "data:", "[input]", "a.", " [temp]", "0 ", "0 0 0\n", "v=0\n",
    "<!-- -->", "<",
)  # fmt: skip


@pytest.mark.timeout(60)  # What takes longer than linear time takes hours.
@pytest.mark.parametrize("filler", FILLERS)
def test_long_texts_take_linear_time(tmp_path: Path, filler: str) -> None:
    text = filler * (2_000_000 // len(filler)) + "\\x"
    limits = InputLimits(max_bytes=10_000_000, max_pixels=1_000_000)
    for name in ("a.png", "a.txt", "a.json", "a.srt", "a.vtt", "a.cube", "a.obj"):
        for data in (text, text.encode(), base64.b64encode(text.encode()).decode()):
            with contextlib.suppress(InputsRefused):
                stage([InputImage(name, data)], tmp_path, limits)
    graph = {"1": {"class_type": "A", "inputs": {"a": text, "b": text + ".png", "c": text + " [input]"}}}
    respell(graph, {"a.png"}, lambda _: {})
    with contextlib.suppress(InvalidJob):
        parse_job({"input": {"workflow": graph, "images": [{"name": text, "image": text}]}})
    job = parse_job({"input": {"workflow": graph, "images": [{"name": "a.png", "image": text}], text: 1}})
    list(unused_files(job))
