"""Finds the names that a misspelt one may stand for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from worker.job.shown import quoted

_MOST, _LONGEST = 500, 100  # Names, and characters of a name: to compare more would take seconds.
_AS_NEAR = 0.1


def near_names(name: str, names: Iterable[str]) -> str:
    """Those of ``names`` that ``name`` may stand for, quoted; empty if there is none. Case does not matter."""
    by_letters: dict[str, str] = {}
    for known in names:
        if len(known) <= _LONGEST and len(by_letters) < _MOST:
            by_letters.setdefault(known.casefold(), known)
    wanted = name[:_LONGEST].casefold()
    near = [wanted] if wanted in by_letters else difflib.get_close_matches(wanted, by_letters, n=3)
    likeness = [difflib.SequenceMatcher(None, wanted, letters).ratio() for letters in near]
    return " or ".join(
        quoted(by_letters[letters])
        for letters, like in zip(near, likeness, strict=True)
        if like > likeness[0] - _AS_NEAR
    )
