"""Shows a ``Result`` in a notebook: small pictures, texts, names and sizes of files, errors."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from worker.images.webp_jpeg import in_8_bits

if TYPE_CHECKING:
    from PIL.Image import Image

    from worker.answer.result import Artifact, Result

# A notebook keeps what it shows. So it gets small copies, and only so many of them.
_MOST_PICTURES, _MOST_LINES, _MOST_CHARACTERS = 12, 20, 2000
_ONE_SIDE, _SIDE = 768, 256  # In pixels: of a single picture, and of several.
_MOST_PIXELS = 50_000_000


def mime_bundle(result: Result) -> dict[str, str]:
    """What ``result`` looks like, by media type: ``text/html`` and ``text/plain``."""
    pictures = [artifact for artifact in result.artifacts if artifact.media_type.startswith("image/")]
    side = _ONE_SIDE if len(pictures) == 1 else _SIDE
    shown = {artifact: figure for artifact in pictures[:_MOST_PICTURES] if (figure := _figure(artifact, side))}
    others = [_line(artifact) for artifact in result.artifacts if artifact not in shown]
    texts = [f"Node {text.node_id}: {_cut(text.text)}" for text in result.texts]
    parts = [
        _div([_head(result)]),
        "".join(shown.values()),
        _div(others),
        "".join(f'<pre style="white-space: pre-wrap">{html.escape(text)}</pre>' for text in _some(texts)),
        _div(result.errors, ' style="color: var(--jp-error-color1, #d32f2f)"'),
        _div(f"warning: {warning}" for warning in result.warnings),
    ]
    every = map(_line, result.artifacts)
    lines = [_head(result), *_some([*every]), *_some(texts), *_some(result.errors), *_some(result.warnings)]
    return {"text/html": "".join(parts), "text/plain": "\n".join(lines)}


def _head(result: Result) -> str:
    count = len(result.artifacts)
    files = f", {count} file{'s' if count != 1 else ''}" if count else ", no file"
    return f"{result.status}{files}, {sum(result.seconds.values()):.1f} s"


def _line(artifact: Artifact) -> str:
    """The file's name, size and node. The file may be gone: ``Result.close`` removes it."""
    try:
        size = f"{artifact.path.stat().st_size / 1e6:.2f} MB"
    except OSError:
        size = "removed"
    return f"{artifact.filename}, {artifact.media_type}, {size}, node {artifact.node_id}"


def _figure(artifact: Artifact, side: int) -> str | None:
    """A small copy of the picture with its name, as HTML; None if it cannot be shown."""
    from PIL import Image

    try:
        with Image.open(artifact.path) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            size = f"{image.width}×{image.height}"
            data, width, height = _thumbnail(image, side)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Removed, or not of Pillow's kinds.
        return None
    source = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
    name = html.escape(artifact.filename)
    return (
        '<figure style="display: inline-block; margin: 0 8px 8px 0; vertical-align: top">'
        f'<img src="{source}" width="{width}" height="{height}" alt="{name}">'
        f'<figcaption style="max-width: {max(width, 160)}px">{name}, {size}, node {html.escape(artifact.node_id)}'
        "</figcaption></figure>"
    )


def _thumbnail(image: Image, side: int) -> tuple[bytes, int, int]:
    """A WebP of at most ``side`` pixels on each side, with its width and height. Of an animation, the first frame."""
    image.draft("RGB", (side, side))
    image = in_8_bits(image)
    small = image.convert("RGBA" if image.has_transparency_data else "RGB")
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=80)
    return file.getvalue(), small.width, small.height


def _div(lines: Iterable[str], style: str = "") -> str:
    return "".join(f"<div{style}>{html.escape(line)}</div>" for line in _some(list(lines)))


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"and {len(lines) - _MOST_LINES} more"


def _cut(text: str) -> str:
    over = len(text) - _MOST_CHARACTERS
    return text if over <= 0 else f"{text[:_MOST_CHARACTERS]}… ({over} more characters)"
