"""Finds the texts in the worker's code that its callers or operators can see: errors, warnings, log lines, output."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

# What is put into a text when it runs, by ``logging`` or ``str.format``, and the styles of ``rich``.
_FILLED = re.compile(r"%[-+ #0]*\d*(?:\.\d+)?[a-zA-Z]|(?<!\{)\{\w+\}|\[/?(?:dim|bold|red)?\]")
_WORD = re.compile(r"[A-Za-z_']{2,}")
# Arguments and calls that describe the command line, settings and the API: --help, docs/configuration.md and
# docs/api.md show those.
_DESCRIPTIONS = frozenset({"description", "epilog", "help", "prog", "style", "summary", "title"})
_DESCRIBING_CALLS = frozenset({"compile", "setting", "_refusals"})


def visible_texts(worker: Path, fewest_words: int = 2) -> dict[str, str]:
    """Each text in the code below ``worker``, as docs/troubleshooting.md writes it, with its place.

    ``…`` stands for what is put into a text when it runs. A text of several lines counts as several. Texts with fewer
    words than ``fewest_words`` are left out: frames such as ``Node … (…)``, and names.
    """
    found: dict[str, str] = {}
    for path in sorted(worker.rglob("*.py")):
        for node, text in _texts(ast.parse(path.read_text("utf-8"))):
            for line in map(_plain, text.splitlines()):
                if " " not in line or len(_WORD.findall(line)) < fewest_words:
                    continue
                found.setdefault(line, f"{path.relative_to(worker.parent)}:{node.lineno}")
    return found


def _plain(text: str) -> str:
    """``text`` as the page shows it."""
    return re.sub("…+", "…", _FILLED.sub("…", text)).strip(" ;,•")


def _texts(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """The texts in a piece of code, with their nodes. Docstrings and descriptions are left out."""
    if isinstance(node, ast.expr) and (text := _joined(node)) is not None:
        yield node, text
        for inner in _put_in(node):
            yield from _texts(inner)
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) and not _describes(node):
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _put_in(node: ast.expr) -> Iterator[ast.expr]:
    """The expressions whose values are put into a text. They may hold texts themselves."""
    if isinstance(node, ast.BinOp):
        for side in (node.left, node.right):
            yield from [side] if _joined(side) is None else _put_in(side)
    for piece in node.values if isinstance(node, ast.JoinedStr) else ():
        if isinstance(piece, ast.FormattedValue):
            yield piece.value


def _describes(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg in _DESCRIPTIONS
    called = node.func if isinstance(node, ast.Call) else None
    return getattr(called, "attr", getattr(called, "id", None)) in _DESCRIBING_CALLS


def _joined(node: ast.expr) -> str | None:
    """The text that an expression makes, with ``…`` for what is not known before. None for other expressions."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(piece.value) if isinstance(piece, ast.Constant) else "…" for piece in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = _joined(node.left), _joined(node.right)
        return None if sides == (None, None) else "".join("…" if side is None else side for side in sides)
    return None
