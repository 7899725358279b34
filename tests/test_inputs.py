"""Staging: what a caller sends becomes files in the job's folder, or one line each."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.errors import InputsRefused
from worker.job.inputs import InputLimits, stage
from worker.job.job import InputImage

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
    ],
)
def test_base64_in_all_its_clothes(tmp_path: Path, png: Callable[..., bytes], wrap: Callable[[str], str]) -> None:
    data = png()
    stage([InputImage("sub/a.png", wrap(base64.b64encode(data).decode()))], tmp_path, LIMITS)
    assert (tmp_path / "sub" / "a.png").read_bytes() == data


def test_bytes_are_taken_as_they_are(tmp_path: Path, png: Callable[..., bytes]) -> None:
    stage([InputImage("a.png", png())], tmp_path, LIMITS)
    assert (tmp_path / "a.png").read_bytes() == png()


@pytest.mark.parametrize("text", ["not base64!", "QUJ", "QUJD====QUJD", "QUJD-_", "data:image/png;base64,%%%", "ÄÖÜ"])
def test_what_is_no_strict_base64(tmp_path: Path, text: str) -> None:
    (line,) = refused(tmp_path, InputImage("a.png", text))
    assert line.startswith("Error decoding base64 for a.png: ")
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
