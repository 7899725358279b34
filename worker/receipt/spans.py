"""Joins and subtracts spans of time: pairs of begin and end, in seconds."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[float, float]


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same time in spans that do not overlap, in order."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif end > start:
            found.append((start, end))
    return found


def beside(spans: Iterable[Span], others: Iterable[Span], whole: Span) -> list[Span]:
    """The time of ``spans`` within ``whole`` that is in none of ``others``."""
    left = joined((max(start, whole[0]), min(end, whole[1])) for start, end in spans)
    for first, last in others:
        left = [piece for start, end in left for piece in ((start, min(end, first)), (max(start, last), end))]
        left = [(start, end) for start, end in left if end > start]
    return left


def total(spans: Iterable[Span]) -> float:
    """Seconds of ``spans`` that do not overlap."""
    return sum(end - start for start, end in spans)
