"""No library opens a file as something else than staging takes it for, and none follows it to further files."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import graphs
import media
import numpy as np
import polyglots
import pytest
import safetensors.torch
from ffmpeg_probe import FOLLOWERS
from PIL import Image, UnidentifiedImageError

from worker import Worker
from worker.errors import InputsRefused
from worker.job.files.content import identify

LIMIT = 10_000_000
PICTURE_FORMATS = [
    "PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000", "ICO", "DDS", "DIB", "PCX", "SGI", "TGA",
]  # fmt: skip


@pytest.fixture
def folder(worker: Worker) -> Iterator[Path]:
    """ComfyUI's input folder, emptied afterwards."""
    assert worker.runtime is not None
    before = set(worker.runtime.state.input.iterdir())
    yield worker.runtime.state.input
    for path in set(worker.runtime.state.input.iterdir()) - before:
        path.unlink()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A video that no job may read."""
    path = tmp_path / "secret.ts"
    path.write_bytes(media.video(235, "mpegts", "mpeg2video"))
    return path


def unguarded(path: Path) -> str | None:
    """What FFmpeg itself takes a file for; None if it cannot read it."""
    try:
        with av.open.__wrapped__(str(path)) as file:  # type: ignore[attr-defined]
            return str(file.format.name)
    except av.error.FFmpegError:
        return None


def frames(file: Any, **options: Any) -> int:
    with av.open(file, **options) as container:
        return sum(1 for _ in container.decode(container.streams.video[0]))


POLYGLOTS = sorted(polyglots.polyglots(""))


@pytest.mark.parametrize("name", POLYGLOTS)
@pytest.mark.parametrize("place", ["input", "output", "temp"])
def test_no_polyglot_is_opened(worker: Worker, folder: Path, secret: Path, name: str, place: str) -> None:
    assert worker.runtime is not None
    path: Path = getattr(worker.runtime.state, place) / name
    path.write_bytes(polyglots.polyglots(str(secret))[name])
    try:
        if name == "pcd.m3u8":
            assert unguarded(path) == "hls"
        for file in (str(path), path, f"file:{path}", io.BytesIO(path.read_bytes()), path.open("rb")):
            with contextlib.suppress(av.error.FFmpegError), av.open(file) as container:
                assert container.format.name not in ("hls", "sdp", "concat")
                assert not container.streams.video
    finally:
        path.unlink()


@pytest.mark.parametrize("name", POLYGLOTS)
@pytest.mark.parametrize("loader", ["LoadVideo", "LoadImage", "LoadAudio"])
def test_no_job_gets_frames_of_another_file(worker: Worker, secret: Path, name: str, loader: str) -> None:
    inputs = {"LoadVideo": "file", "LoadImage": "image", "LoadAudio": "audio"}
    graph = {"1": graphs.node(loader, **{inputs[loader]: name})}
    last = ["1", 0]
    if loader == "LoadVideo":
        graph["2"], last = graphs.node("GetVideoComponents", video=last), ["2", 0]
    graph["3"] = graphs.node("PreviewAny", source=last)
    try:
        result = worker.run(graph, images={name: polyglots.polyglots(str(secret))[name]})
    except InputsRefused:
        return
    assert result.status == "error"


def test_no_file_that_ffmpeg_s_own_probe_takes_for_a_playlist_is_opened(
    worker: Worker, folder: Path, secret: Path
) -> None:
    found = polyglots.probed(str(secret), lambda data: identify(data, LIMIT) is not None)
    assert len(found) >= 3, sorted(found)
    for name, data in found.items():
        path = folder / name
        path.write_bytes(data)
        for file in (str(path), io.BytesIO(data)):
            with contextlib.suppress(av.error.FFmpegError), av.open(file, "r") as container:
                assert container.format.name not in FOLLOWERS, name
                pictures = [frame for stream in container.streams.video for frame in container.decode(stream)]
                assert all(picture.width != 64 for picture in pictures), f"{name} shows the secret"


@pytest.mark.parametrize("text", ["http://127.0.0.1:9/a.mp4", "concat:/etc/hostname|/etc/hosts", "tcp://127.0.0.1:9",
                                  "subfile,,start,0,end,9,,:/etc/hostname", "data:video/mp4;base64,AAAA",
                                  "file:concat:/etc/hosts", "crypto:/etc/hosts", "async:file:/etc/hosts"])  # fmt: skip
def test_only_files_are_opened(worker: Worker, text: str) -> None:
    with pytest.raises(av.error.FFmpegError, match="is no file: videos and sounds are read from files only"):
        av.open(text)


def test_no_sequence_of_images_is_opened(worker: Worker, folder: Path) -> None:
    for number in range(3):
        (folder / f"in{number}.png").write_bytes(_picture("PNG"))
    for pattern in ("in%d.png", "in[0-9].png", "in*.png"):
        with pytest.raises(av.error.FFmpegError):
            av.open(str(folder / pattern))
    with pytest.raises(av.error.FFmpegError):
        av.open(str(folder / "in%d.png"), format="image2")


def test_what_a_node_writes_is_no_playlist_either(worker: Worker, secret: Path) -> None:
    assert worker.runtime is not None
    path = worker.runtime.state.output / "a.m3u8"
    path.write_bytes(polyglots.hls(str(secret)))
    assert unguarded(path) == "hls"
    for options in ({}, {"format": "hls"}, {"container_options": {"format_whitelist": "hls"}},
                    {"options": {"format_whitelist": "hls", "protocol_whitelist": "file"}}):  # fmt: skip
        with pytest.raises((av.error.FFmpegError, ValueError)):
            av.open(str(path), **options)
    path.unlink()


def test_a_pack_s_own_files_are_opened_as_before(worker: Worker, tmp_path: Path, secret: Path) -> None:
    for number in range(3):
        (tmp_path / f"frame{number}.png").write_bytes(_picture("PNG"))
    assert frames(str(tmp_path / "frame%d.png"), format="image2") == 3
    assert frames(secret) == 4
    (tmp_path / "a.m3u8").write_bytes(polyglots.hls(str(secret)))
    with pytest.raises(av.error.FFmpegError):
        av.open(str(tmp_path / "a.m3u8"))
    eps = tmp_path / "own.eps"
    eps.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert Image.open(eps).format == "EPS"
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(eps.read_bytes()))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(eps.read_bytes()), formats=["EPS"])


def _picture(kind: str, size: tuple[int, int] = (32, 32)) -> bytes:
    buffer = io.BytesIO()
    gradient = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    Image.fromarray(gradient).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tga", "mp4", "txt", "picture"])
@pytest.mark.parametrize("kind", PICTURE_FORMATS)
def test_a_picture_may_bear_any_ending(worker: Worker, kind: str, ending: str) -> None:
    data = _picture(kind)
    result = worker.run(graphs.load(f"in.{ending}"), images={f"in.{ending}": data})
    assert result.ok, result.errors
    with Image.open(io.BytesIO(data)) as expected:
        difference = np.asarray(result.images[0].convert("RGB"), int) - np.asarray(expected.convert("RGB"), int)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_an_animated_picture_keeps_its_frames(worker: Worker, kind: str) -> None:
    pictures = [Image.new("RGB", (16, 16), (shade, 0, 99)) for shade in (0, 100, 200)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, kind, save_all=True, append_images=pictures[1:])
    assert len(worker.run(graphs.load("in.png"), images={"in.png": buffer.getvalue()}).images) == 3


CONTAINERS = [
    ("mp4", "h264"), ("mov", "h264"), ("webm", "libvpx-vp9"), ("matroska", "h264"), ("avi", "mpeg4"),
    ("mpegts", "mpeg2video"), ("flv", "flv"), ("asf", "mpeg4"), ("ogg", "libtheora"), ("mpeg", "mpeg2video"),
    ("mpeg2video", "mpeg2video"),
]  # fmt: skip


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_videos_are_opened(worker: Worker, folder: Path, container: str, codec: str) -> None:
    try:
        data = media.video(99, container, codec)
    except (ValueError, av.error.FFmpegError):
        pytest.skip(f"this FFmpeg writes no {container} with {codec}")
    assert identify(data, LIMIT) is not None
    (folder / "in.dat").write_bytes(data)
    for file in (str(folder / "in.dat"), folder / "in.dat", io.BytesIO(data), (folder / "in.dat").open("rb")):
        assert frames(file) >= 3


def test_a_format_that_is_asked_for_must_be_the_file_s(worker: Worker, folder: Path) -> None:
    data = media.video(99)
    (folder / "in.mp4").write_bytes(data)
    for name in ("mp4", "mov"):
        assert frames(str(folder / "in.mp4"), format=name) == frames(io.BytesIO(data), format=name) == 4
    for name in ("hls", "concat", "image2", "rawvideo", "lavfi", "tty"):
        with pytest.raises((av.error.FFmpegError, ValueError)):
            av.open(str(folder / "in.mp4"), format=name)
        with pytest.raises((av.error.FFmpegError, ValueError)):
            av.open(io.BytesIO(data), format=name)
    samples = io.BytesIO(np.zeros(4800, np.int16).tobytes())
    with av.open(samples, "r", format="s16le") as file:
        assert sum(frame.samples for frame in file.decode(file.streams.audio[0])) == 4800


def test_a_picture_hides_no_film(worker: Worker, folder: Path) -> None:
    """Staging has counted the pixels of the picture, and not those of a film."""
    for data, kind in ((polyglots.picture_and_film(), "image/x-tga"),
                       (polyglots.picture_with_film(_picture("AVIF")), "image/avif")):  # fmt: skip
        content = identify(data, LIMIT)
        assert content is not None
        assert content.media_type == kind
        path = folder / "in.mp4"
        path.write_bytes(data)
        assert unguarded(path) == "mov,mp4,m4a,3gp,3g2,mj2"
        for file in (str(path), io.BytesIO(data)):
            with contextlib.suppress(av.error.FFmpegError):
                assert frames(file) <= 1


def test_a_picture_is_no_latent(worker: Worker, folder: Path) -> None:
    path = folder / "in.latent"
    path.write_bytes(polyglots.picture_and_latent())
    with pytest.raises(ValueError, match=r"in\.latent is no latent"):
        safetensors.torch.load_file(path)
    path.write_bytes(media.latent(1.0))
    assert safetensors.torch.load_file(path)["latent_tensor"].shape == (1, 4, 8, 8)
    result = worker.run(
        {"1": graphs.node("LoadLatent", latent="in.latent"), "2": graphs.node("PreviewAny", source=["1", 0])},
        images={"in.latent": polyglots.picture_and_latent()},
    )
    assert "in.latent is no latent" in result.errors[0]
