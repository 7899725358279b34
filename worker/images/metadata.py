"""Builds the metadata that ComfyUI writes into image files: the graph and the editor's own data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from worker.images.formats import PNG_KEYWORD
from worker.images.png import Chunk

# ComfyUI's own nodes for other formats use the same tags: 0x0110 (Model), and 0x010F (Make) and those below it.
_EXIF_PROMPT, _EXIF_REST = 0x0110, 0x010F


def image_texts(prompt: Any, extra_pnginfo: Mapping[str, Any] | None) -> tuple[dict[str, str], list[str]]:
    """The JSON texts of ``prompt`` and of each entry of ``extra_pnginfo``, by name, and the names that are left out.

    A file can have no text with such a name, or its value is not JSON, since a node has put an object there.
    """
    given = {} if prompt is None else {"prompt": prompt}
    texts, left_out = {}, []
    for key, value in {**given, **(extra_pnginfo or {})}.items():
        try:
            text = json.dumps(value)
        except (TypeError, ValueError, RecursionError):
            text = None
        if text is None or not PNG_KEYWORD.fullmatch(str(key)):
            left_out.append(str(key))
        else:
            texts[str(key)] = text
    return texts, left_out


def png_chunks(texts: Mapping[str, str]) -> tuple[Chunk, ...]:
    """``texts`` in the form that ``worker.images.png`` takes."""
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    return tuple((kind, data) for kind, data, *_ in info.chunks)


def exif(texts: Mapping[str, str]) -> Image.Exif | None:
    """``texts`` as the Exif block of a WebP or JPEG file; None if there are no texts."""
    if not texts:
        return None
    block = Image.Exif()
    tag = _EXIF_REST
    for key, text in texts.items():
        if key == "prompt":
            block[_EXIF_PROMPT] = f"prompt:{text}"
        else:
            block[tag] = f"{key}:{text}"
            tag -= 1
    return block
