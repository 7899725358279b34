"""Runs regular expressions with a limit of time, and without Python's lock.

Python's own engine can take for ever, and holds the lock meanwhile: no other thread runs. The package ``regex``
releases it and knows a limit. It takes the place of ``re`` in ComfyUI's modules. A pattern is first read by ``re``, so
what is no pattern there is none here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import regex

LIMIT_S = 5.0  # Of the processor's time.
LONGEST_PATTERN = 10_000  # Characters.
LARGEST_PATTERN = 100_000  # Parts, with each repeated as often as it must be: ``regex`` makes so many of it.
_FLAGS = {
    re.IGNORECASE: regex.IGNORECASE,
    re.MULTILINE: regex.MULTILINE,
    re.DOTALL: regex.DOTALL,
    re.VERBOSE: regex.VERBOSE,
    re.ASCII: regex.ASCII,
}
# How many arguments each function takes between the pattern and the flags.
_METHODS = {"search": 1, "match": 1, "fullmatch": 1, "findall": 1, "finditer": 1, "split": 2, "sub": 3, "subn": 3}
_PIECE = re.compile(r"\\N\{[^}]*\}|\\.|\(\?#[^)]*\)|\{\d*,?\d*\}|\{", re.DOTALL)


class PatternRefused(ValueError):
    """A pattern takes too long on a text, or is too long itself."""


class BoundedRe:
    """Takes the place of the module ``re``.

    Args:
        quick_below: texts with fewer characters are left to ``re``. 0: none.
    """

    def __init__(self, quick_below: int = 0) -> None:
        self._quick_below = quick_below
        self.error = (re.error, regex.error)

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._run, name) if name in _METHODS else getattr(re, name)

    def compile(self, pattern: Any, flags: int = 0) -> BoundedPattern:
        """As ``re.compile``.

        Raises:
            PatternRefused: the pattern is too long, or repeats its parts too often.
        """
        if isinstance(pattern, BoundedPattern):
            return pattern
        compiled = pattern if isinstance(pattern, re.Pattern) else _compiled(pattern, flags)
        return BoundedPattern(compiled, self._quick_below)

    def _run(self, method: str, pattern: Any, *args: Any, **kwargs: Any) -> Any:
        flags = kwargs.pop("flags", 0)
        if len(args) > _METHODS[method]:
            args, flags = args[:-1], args[-1]
        return self.compile(pattern, flags).run(method, *args, **kwargs)


class BoundedPattern:
    """Takes the place of a compiled pattern.

    Args:
        compiled: what ``re.compile`` makes.
        quick_below: as of ``BoundedRe``.
    """

    def __init__(self, compiled: re.Pattern[Any], quick_below: int = 0) -> None:
        self._compiled, self._quick_below = compiled, quick_below

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self.run, name) if name in _METHODS else getattr(self._compiled, name)

    def run(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the pattern.

        Raises:
            PatternRefused: it takes longer than ``LIMIT_S``.
        """
        place = 1 if method in ("sub", "subn") else 0
        text = args[place] if len(args) > place else kwargs.get("string", "")
        if len(text) < self._quick_below:
            return getattr(self._compiled, method)(*args, **kwargs)
        template = args[0] if args else kwargs.get("repl")
        if method in ("sub", "subn") and not callable(template):
            _check_template(self._compiled, template)
        with _Limit():
            result = getattr(_translated(self._compiled), method)(*args, **kwargs, timeout=LIMIT_S)
        return _limited(result) if method == "finditer" else result


def _check_template(compiled: re.Pattern[Any], template: Any) -> None:
    """Raise what ``re`` raises for a wrong template.

    A pattern that has the same groups tells, since this one may take for ever.
    """
    if isinstance(template, str):
        names = {number: f"?P<{name}>" for name, number in compiled.groupindex.items()}
        groups = (f"({names.get(number, '')})" for number in range(1, compiled.groups + 1))
        re.sub("".join(groups), template, "")


class _Limit:
    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError | MemoryError):
            raise PatternRefused(
                f"The regular expression takes more than {LIMIT_S:g} s on this text: use a simpler one, without "
                "repetitions inside of repetitions, or a shorter text"
            ) from None


def _limited(matches: Iterator[Any]) -> Iterator[Any]:
    with _Limit():
        yield from matches


@functools.lru_cache(maxsize=256)
def _compiled(pattern: Any, flags: int) -> re.Pattern[Any]:
    if len(pattern) > LONGEST_PATTERN:
        raise PatternRefused(
            f"The regular expression has {len(pattern):,} characters; at most {LONGEST_PATTERN:,} are allowed"
        )
    compiled = re.compile(pattern, flags)
    if _size(_parser.parse(pattern, flags)) > LARGEST_PATTERN:
        raise PatternRefused("The regular expression repeats its parts too often: use smaller numbers in braces")
    return compiled


def _size(parsed: Any) -> int:
    """How many parts a parsed pattern has, if each is written as often as it must be there."""
    if isinstance(parsed, _parser.SubPattern):
        return sum(map(_size, parsed.data))
    if not isinstance(parsed, tuple | list):
        return 0
    inner = sum(_size(part) for part in parsed)
    if isinstance(parsed, tuple) and len(parsed) == 3 and isinstance(parsed[2], _parser.SubPattern):
        return max(1, int(parsed[0]) if isinstance(parsed[0], int) else 1) * max(1, inner)
    return max(1, inner)


@functools.lru_cache(maxsize=256)
def _translated(compiled: re.Pattern[Any]) -> Any:
    """The same pattern for ``regex``."""
    flags = regex.VERSION0
    for flag, other in _FLAGS.items():
        if compiled.flags & flag:
            flags |= other
    pattern = compiled.pattern
    return regex.compile(_escaped(pattern) if isinstance(pattern, str) else pattern, flags)


def _escaped(pattern: str) -> str:
    """``pattern`` with a backslash before what ``re`` takes literally, and ``regex`` as something of its own.

    These are a brace that is no quantifier, and a bracket in a set.
    """
    done: list[str] = []
    place = first_in_set = 0
    while place < len(pattern):
        piece = _PIECE.match(pattern, place)
        text = given = piece.group() if piece else pattern[place]
        if first_in_set and given[0] != "\\":
            text = given = pattern[place]
            if given == "[":
                text = "\\["
            elif given == "]" and place > first_in_set:
                first_in_set = 0
        elif given == "[":
            text = given = "[^" if pattern.startswith("[^", place) else "["
            first_in_set = place + len(given)
        elif given[0] == "{":
            text = _quantifier(given)
        done.append(text)
        place += len(given)
    return "".join(done)


def _quantifier(text: str) -> str:
    if text in ("{", "{}"):
        return "\\" + text
    low, comma, high = text[1:-1].partition(",")
    return f"{{{low or 0}{comma}{high}}}"
