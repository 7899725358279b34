"""Small jobs that take much memory: by files that grow when they are decoded, and by nodes for batches and texts."""

from __future__ import annotations

import base64
import io
import struct
from typing import Any

import av
import numpy as np
from graphs import Graph, node


def film(frames: int, width: int = 1280, height: int = 720) -> bytes:
    """A black MP4. Decoded, a frame has 11 MB."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream: Any = file.add_stream("h264", rate=24, options={"preset": "ultrafast", "crf": "40"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((height * 3 // 2, width), np.uint8), format="yuv420p")
        for number in range(frames):
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return buffer.getvalue()


def lying(film: bytes) -> bytes:
    """``film`` with a header that says it has 16×16 pixels; its pictures say what they have."""
    at = film.index(b"avc1", film.index(b"stsd")) + 28
    return film[:at] + struct.pack(">HH", 16, 16) + film[at + 4 :]


def webp(width: int, height: int) -> bytes:
    """A WebP of one colour in some 30 bytes."""
    bits = [(0, 1), (0, 1), (0, 1)] + [(1, 1), (0, 1), (0, 1), (0, 1)] * 5  # No transform; five codes of one symbol.
    value, length = 0, 0
    for bit, size in [(width - 1, 14), (height - 1, 14), (0, 1), (0, 3), *bits]:
        value |= bit << length
        length += size
    data = b"\x2f" + value.to_bytes((length + 7) // 8, "little")
    data += b"\0" * (len(data) % 2)
    chunk = b"VP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def sent(name: str, data: bytes) -> list[dict[str, str]]:
    """``images`` of a request with one file."""
    return [{"name": name, "image": base64.b64encode(data).decode()}]


def saved(graph: Graph, last: str) -> Graph:
    """``graph`` with a SaveImage behind the node ``last``."""
    return {**graph, "save": node("SaveImage", images=[last, 0], filename_prefix="bomb")}


def empty_image(side: int, batch: int) -> Graph:
    """One node that makes a batch."""
    return saved({"bomb": node("EmptyImage", width=side, height=side, batch_size=batch, color=0)}, "bomb")


def repeated(side: int, amount: int) -> Graph:
    """A node that repeats an image."""
    graph = {"0": node("EmptyImage", width=side, height=side, batch_size=1, color=0)}
    return saved({**graph, "bomb": node("RepeatImageBatch", image=["0", 0], amount=amount)}, "bomb")


def doubled_images(times: int) -> Graph:
    """A chain of nodes, each of which puts a batch behind itself."""
    graph = {"0": node("EmptyImage", width=1024, height=1024, batch_size=1, color=0)}
    for number in range(times):
        graph[str(number + 1)] = node("ImageBatch", image1=[str(number), 0], image2=[str(number), 0])
    return saved(graph, str(times))


def doubled_texts(times: int) -> Graph:
    """The same with texts of 1,000 letters at first."""
    graph = {"0": node("StringConcatenate", string_a="a" * 500, string_b="b" * 500, delimiter="")}
    for number in range(times):
        text = [str(number), 0]
        graph[str(number + 1)] = node("StringConcatenate", string_a=text, string_b=text, delimiter="")
    return {**graph, "show": node("PreviewAny", source=[str(times), 0])}


def repeated_latents(side: int, amount: int) -> Graph:
    """A latent that is repeated twice, and saved."""
    graph = {"0": node("EmptyLatentImage", width=side, height=side, batch_size=amount)}
    graph["bomb"] = node("RepeatLatentBatch", samples=["0", 0], amount=amount)
    return {**graph, "save": node("SaveLatent", samples=["bomb", 0], filename_prefix="bomb")}


def decoded_film(name: str) -> Graph:
    """All frames of a video."""
    graph = {"load": node("LoadVideo", file=name), "bomb": node("GetVideoComponents", video=["load", 0])}
    return saved(graph, "bomb")


def saved_latents(side: int, amount: int, files: int) -> Graph:
    """A batch of latents that is saved several times."""
    graph = {"0": node("EmptyLatentImage", width=side, height=side, batch_size=amount)}
    return graph | {f"{n}s": node("SaveLatent", samples=["0", 0], filename_prefix=f"bomb{n}") for n in range(files)}
