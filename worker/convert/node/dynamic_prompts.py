"""Resolves dynamic prompts: the editor leaves comments out of some texts, and takes one of ``{several|choices}``.

It does so when it sends the graph, for widgets whose class declares ``dynamicPrompts``. The choice is a random one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

from worker.errors import InvalidJob

Choose = Callable[[Sequence[str]], str]
_COMMENT = re.compile(r"//.*|/\*")
_DEEPEST = 50  # Choices within choices.
_PIECE = re.compile(r"\\.?|[{}|]|[^\\{}|]+", re.DOTALL)
_ESCAPED = re.compile(r"\\([{}|])")


def resolve(text: str, choose: Choose) -> str:
    """``text`` without comments, with one choice instead of each ``{a|b}``. A ``\\`` before ``{|}`` keeps that one.

    Args:
        choose: takes one of the choices. They may have choices in turn.

    Raises:
        InvalidJob: there are too many choices within choices.
    """
    pieces = _PIECE.findall(_without_comments(text))
    depths = itertools.accumulate((piece == "{") - (piece == "}") for piece in pieces)
    if max(depths, default=0) > _DEEPEST:
        raise InvalidJob(f"'workflow': a prompt has choices in braces more than {_DEEPEST} levels deep")
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


def _without_comments(text: str) -> str:
    """``text`` without ``// …`` up to the end of a line, and without ``/* … */``."""
    kept, place = [], 0
    while (found := _COMMENT.search(text, place)) is not None:
        end = found.end() if found[0] != "/*" else text.find("*/", found.end()) + 2
        if end < 2:  # It does not end, and so is no comment. None after it can end either.
            kept.append(text[place : found.end()])
            return "".join(kept) + re.sub("//.*", "", text[found.end() :])
        kept.append(text[place : found.start()])
        place = end
    return "".join(kept) + text[place:]


def _choices(pieces: Sequence[str], place: int) -> tuple[list[str], int]:
    """The choices that begin at ``place``, up to the ``}`` that belongs to them, and the place behind it."""
    choices: list[list[str]] = [[]]
    depth = 0
    while place < len(pieces):
        piece = pieces[place]
        place += 1
        if piece == "}" and depth == 0:
            break
        if piece == "|" and depth == 0:
            choices.append([])
            continue
        depth += (piece == "{") - (piece == "}")
        choices[-1].append(piece)
    return ["".join(choice) for choice in choices], place
