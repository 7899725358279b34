"""Makes the report's page: one HTML file, with pictures that differ side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from compare.report import PACK_HEAD, RUN_HEAD, Report, conclusion, pack_rows, run_rows, told_difference

_SIDE = 480  # Pixels of a picture's longer side.
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 64em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1.5em 0 } td, th { text-align: left; padding: .2em 1em .2em 0 }
tr { border-bottom: 1px solid #ddd } .differs { color: #b00020; font-weight: 600 } figure { display: inline-block }
img { max-width: 100%; border: 1px solid #ddd; background: #eee }
"""


def page(report: Report) -> str:
    """The page. It refers to no other file."""
    title = f"ComfyUI {report.comfyui}: the stock server and the worker"
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(line)}</p>" for line in conclusion(report).splitlines())]
    parts += [_table(PACK_HEAD, pack_rows(report)), _table(RUN_HEAD, run_rows(report))]
    for where in dict.fromkeys(one.where for one in report.found):
        parts.append(f"<h2>{escape(where)}</h2>")
        for one in report.of(where):
            parts.append(f"<p>{escape(told_difference(one))}</p>")
            parts += _figures(one.pair) if one.pair else []
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return head + "\n".join(parts) + "</html>\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(_cell(cell) for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _cell(text: str) -> str:
    return f"<td{' class=differs' if 'DIFFER' in text else ''}>{escape(text)}</td>"


def _figures(pair: tuple[Path, Path]) -> list[str]:
    pictures = [_picture(path) for path in pair]
    if None in pictures:
        return []
    captions = ("server", "worker")
    return [
        f'<figure><img src="data:image/png;base64,{data}" alt=""><figcaption>{caption}</figcaption></figure>'
        for data, caption in zip(pictures, captions, strict=True)
    ]


def _picture(path: Path) -> str | None:
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            small = image.convert("RGBA")
            small.thumbnail((_SIDE, _SIDE))
            small.save(buffer, "PNG")
    except (OSError, ValueError, SyntaxError):
        return None
    return base64.b64encode(buffer.getvalue()).decode("ascii")
