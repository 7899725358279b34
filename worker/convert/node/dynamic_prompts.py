"""Resolves dynamic prompts: the editor leaves comments out of some texts, and takes one of ``{several|choices}``.

It does so when it sends the graph, for widgets whose class declares ``dynamicPrompts``. The choice is a random one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Choose = Callable[[Sequence[str]], str]
_COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
_PIECE = re.compile(r"\\.?|[{}|]|[^\\{}|]+", re.DOTALL)
_ESCAPED = re.compile(r"\\([{}|])")


def resolve(text: str, choose: Choose) -> str:
    """``text`` without comments, with one choice instead of each ``{a|b}``. A ``\\`` before ``{|}`` keeps that one.

    Args:
        choose: takes one of the choices. They may have choices in turn.
    """
    text = _COMMENT.sub("", text)
    pieces = _PIECE.findall(text)
    result = []
    place = 0
    while place < len(pieces):
        piece = pieces[place]
        place += 1
        if piece == "{":
            choices, place = _choices(pieces, place)
            result.append(resolve(choose(choices), choose))
        else:
            result.append(piece)
    return _ESCAPED.sub(r"\1", "".join(result))


def _choices(pieces: Sequence[str], place: int) -> tuple[list[str], int]:
    """The choices that begin at ``place``, up to the ``}`` that belongs to them, and the place behind it."""
    choices, depth = [""], 0
    while place < len(pieces):
        piece = pieces[place]
        place += 1
        if piece == "}" and depth == 0:
            break
        if piece == "|" and depth == 0:
            choices.append("")
            continue
        depth += (piece == "{") - (piece == "}")
        choices[-1] += piece
    return choices, place
