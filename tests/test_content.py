"""Files are known by their bytes: what ComfyUI's loaders read passes, everything else does not."""

from __future__ import annotations

import io
import json
import struct
import time
import wave
import zlib
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest
import torch
from hostile_files import gif_of
from PIL import EpsImagePlugin, Image
from safetensors.torch import save

from worker.job.files.content import Content, TooManyPixels, identify

LIMIT = 10_000_000


def picture(kind: str, **options: Any) -> bytes:
    """A small picture in Pillow's format ``kind``."""
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), "teal").save(buffer, kind, **options)
    return buffer.getvalue()


def video(container: str, codec: str) -> bytes:
    """Three black frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=8)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode())
    return buffer.getvalue()


def sound(container: str, codec: str) -> bytes:
    """A short silence."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="flt", layout="mono")
        frame.sample_rate = 48000
        for resampled in av.AudioResampler(stream.format, stream.layout, 48000, stream.frame_size or 960).resample(
            frame
        ):
            file.mux(stream.encode(resampled))
        file.mux(stream.encode())
    return buffer.getvalue()


def wav() -> bytes:
    """Some PCM."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 800)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "TGA"])
def test_pictures(kind: str) -> None:
    content = identify(picture(kind), LIMIT)
    assert content is not None
    assert content.media_type.startswith("image/")
    assert content.pixels == 200


@pytest.mark.parametrize(
    ("container", "codec", "media_type"),
    [
        ("mp4", "h264", "video/mp4"),
        ("mov", "h264", "video/mp4"),
        ("webm", "libvpx-vp9", "video/webm"),
        ("matroska", "h264", "video/webm"),
        ("avi", "mpeg4", "video/x-msvideo"),
        ("mpegts", "mpeg2video", "video/mp2t"),
        ("flv", "flv", "video/x-flv"),
    ],
)
def test_videos(container: str, codec: str, media_type: str) -> None:
    assert identify(video(container, codec), LIMIT) == Content(media_type)


@pytest.mark.parametrize(
    ("container", "codec", "media_type"),
    [
        ("mp3", "libmp3lame", "audio/mpeg"),
        ("flac", "flac", "audio/flac"),
        ("ogg", "libopus", "audio/ogg"),
        ("adts", "aac", "audio/aac"),
        ("ipod", "aac", "video/mp4"),
    ],
)
def test_sounds(container: str, codec: str, media_type: str) -> None:
    assert identify(sound(container, codec), LIMIT) == Content(media_type)


def test_wav() -> None:
    assert identify(wav(), LIMIT) == Content("audio/wav")


STL = b"\0" * 80 + struct.pack("<I", 2) + b"\1" * 100


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"glTF" + struct.pack("<II", 2, 20) + b"\0" * 8, "model/gltf-binary"),
        (json.dumps({"asset": {"version": "2.0"}, "scenes": []}).encode(), "model/gltf+json"),
        (b"# made by hand\nmtllib a.mtl\no cube\nv 0.0 1e-3 -2\nv 1 1 1\nf 1 2 1\n", "model/obj"),
        (b"solid cube\n facet normal 0 0 1\n", "model/stl"),
        (STL, "model/stl"),
        (b"ply\nformat ascii 1.0\n", "model/ply"),
        (b"Kaydara FBX Binary  \0\x1a\0", "model/fbx"),
        (
            save({"latent_tensor": torch.zeros(1, 4, 8, 8), "latent_format_version_0": torch.zeros(0)}),
            "application/x-latent",
        ),
    ],
)
def test_models_and_latents(data: bytes, media_type: str) -> None:
    assert identify(data, LIMIT) == Content(media_type)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, world",
        b"<svg xmlns='http://www.w3.org/2000/svg'></svg>",
        b"#!/bin/sh\nrm -rf /\n",
        b"import os\n",
        b"\x7fELF\x02\x01\x01" + b"\0" * 100,
        b"PK\x03\x04" + b"\0" * 100,
        b"%PDF-1.7\n",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0XXXX",
        b"solid as a rock\n",
        b"v is a letter\n",
        b'{"nodes": [], "asset": 5}',
        b'{"asset"',
        save({"model.weight": torch.zeros(4)}),
        struct.pack("<Q", 2**60) + b"{}" * 10,
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"#EXTM3U\nv 1 2 3\n#EXTINF:1,\n/dev/shm/x.ts\n",
        b"# EXT\nv 1 2 3\n/dev/shm/x.ts\n",
        b"ffconcat version 1.0\nv 1 2 3\nfile '/etc/passwd'\n",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n".ljust(2048, b"\n") + b"PCD_" + b"\0" * 4096,
    ],
)
def test_everything_else_is_refused(data: bytes) -> None:
    assert identify(data, LIMIT) is None


def test_a_picture_over_the_limit_is_refused_before_it_is_decoded(png: Callable[..., bytes]) -> None:
    data = png("red", (100, 100))
    assert identify(data, 10_000) == Content("image/png", 10_000)
    with pytest.raises(TooManyPixels, match="10000 pixels, the limit is 9999"):
        identify(data, 9_999)


def test_frames_count(png: Callable[..., bytes]) -> None:
    frames = [Image.new("RGB", (10, 10), (shade, 0, 0)) for shade in range(5)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert identify(buffer.getvalue(), 500) == Content("image/gif", 500)
    with pytest.raises(TooManyPixels):
        identify(buffer.getvalue(), 499)


def test_frames_have_a_limit_however_small_they_are() -> None:
    assert identify(gif_of(10_000), LIMIT) == Content("image/gif", 10_000)
    with pytest.raises(TooManyPixels, match="it has 10001 frames, the limit is 10000"):
        identify(gif_of(10_001), LIMIT)


def test_what_pillow_gives_to_another_program_is_no_picture() -> None:
    """It hands EPS to Ghostscript, with all that a PostScript program can do."""
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    assert EpsImagePlugin.EpsImageFile(io.BytesIO(data)).format == "EPS"
    assert identify(data, LIMIT) is None


def test_a_bomb_is_refused() -> None:
    """A PNG header that claims 65,500² pixels, with hardly any data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 65500, 65500, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    with pytest.raises(TooManyPixels):
        identify(data, LIMIT)


@pytest.mark.parametrize("start", [b"x\n", b"#a\n", b"v 1 1 1\n", b"v 1", b"#EXTM3U\n"])
@pytest.mark.parametrize("filler", [b"\n", b" ", b"\t", b"\r", b" \n", b"1", b"v ", b"#\n"])
@pytest.mark.parametrize("end", [b"", b"x", b"\0"])
def test_no_text_keeps_the_search_for_a_model_busy(start: bytes, filler: bytes, end: bytes) -> None:
    began = time.process_time()
    identify(start + filler * 200_000 + end, 10_000_000)
    assert time.process_time() - began < 2
