"""Files that a caller should not send: bombs, polyglots, scripts, damaged ones."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from typing import Any

from PIL import Image

# In the name of all that a job tries to write, so that it is found wherever it may land.
MARK = "hstl"


def png_of(width: int, height: int, compressed: bytes = b"") -> bytes:
    """A PNG that says it is ``width``×``height``, with ``compressed`` for pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def gif_of(frames: int) -> bytes:
    """A GIF of 1×1 pixels and so many frames, in 20 bytes each."""
    frame = b"\x21\xf9\x04\x00\x00\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    return b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff" + frame * frames + b";"


def _encoded(image_format: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(buffer, image_format, **how)
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"../../{MARK}.txt", "zip slip")
    return buffer.getvalue()


def _safetensors(header: object, data: bytes = b"\0" * 64) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def hostile_files() -> dict[str, bytes]:
    """Files by what they are."""
    good, jpeg, gif = _encoded("PNG"), _encoded("JPEG"), _encoded("GIF")
    tensor = {"dtype": "F32", "shape": [1, 4, 2, 2], "data_offsets": [0, 64]}
    return {
        "good.png": good,
        "good.jpg": jpeg,
        "good.gif": gif,
        "good.webp": _encoded("WEBP"),
        "good.latent": _safetensors({"latent_tensor": tensor}),
        "empty": b"",
        "truncated.png": good[: len(good) // 2],
        "header-only.png": good[:33],
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "bomb.png": png_of(60_000, 60_000, zlib.compress(b"\0" * 1_000_000, 9)),
        "lies.png": png_of(16, 16, zlib.compress(b"\0" * 3_000_000, 9)),
        "thin.png": png_of(2**31 - 1, 1),
        "zero.png": png_of(0, 0),
        "text-bomb.png": _text_bomb(good),
        "frames.gif": gif_of(2000),
        "png+zip.png": good + _zip(),
        "zip+png.zip": _zip() + good,
        "gif+js.gif": gif + b"/*';alert(1)//*/",
        "jpeg+html.jpg": jpeg[:2] + b"\xff\xfe\x00\x1c<script>alert(1)</script>" + jpeg[2:],
        "php.png": good + b"<?php system($_GET[0]); ?>",
        "svg.svg": b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&x;</svg>',
        "html.html": b"<html><script>1</script>",
        "pickle.pt": b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x04id\x85R.",
        "elf": b"\x7fELF" + b"\0" * 100,
        "playlist.m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "concat.txt": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        "postscript.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "empty.mp4": b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
        "bad.wav": b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00",
        "bad.flac": b"fLaC" + b"\xff" * 60,
        "bad.mp3": b"ID3\x04\x00\xff\xff\xff\xff\xff",
        "short.latent": _safetensors({"latent_tensor": tensor}, b"\0"),
        "huge.latent": _safetensors({"latent_tensor": {**tensor, "shape": [2**40, 2**40]}}),
        "odd.latent": _safetensors({"latent_tensor": tensor, "__metadata__": {"__proto__": "x"}}),
        "bad.glb": b"glTF\x02\x00\x00\x00\xff\xff\xff\xff",
        "external.obj": b"mtllib ../../../etc/passwd\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    }


def _text_bomb(good: bytes) -> bytes:
    data = b"prompt\0\0" + zlib.compress(b"a" * 10_000_000, 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return good[:33] + chunk + good[33:]


def base64_of(data: bytes) -> str:
    """As callers send a file."""
    return base64.b64encode(data).decode()
