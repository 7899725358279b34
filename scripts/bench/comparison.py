"""Statistics: the spread of a list of times, and how sure a ratio of two is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 4000
_FEWEST_PAIRS = 3
_WIDEST = 0.15


@dataclass(frozen=True)
class Spread:
    """Median, 95th percentile and minimum, in the unit of the values."""

    median: float
    p95: float
    minimum: float


@dataclass(frozen=True)
class Ratio:
    """The median of the pairs' ratios, and its 95 % bootstrap interval; the interval is None for fewer than 3 pairs."""

    median: float
    interval: tuple[float, float] | None

    @property
    def is_noisy(self) -> bool:
        """Whether the interval leaves open who is ahead, or by how much: it contains 1, or is wider than ±15 %."""
        if self.interval is None:
            return True
        low, high = self.interval
        return low <= 1 <= high or (high - low) / 2 > _WIDEST * self.median


def spread(values: Sequence[float]) -> Spread:
    """The spread of ``values``."""
    return Spread(float(np.median(values)), float(np.percentile(values, 95)), min(values))


def ratio(ours: Sequence[float], other: Sequence[float]) -> Ratio:
    """``ours`` ÷ ``other``, pair by pair. The same values always give the same interval."""
    pairs = np.asarray(ours, float) / np.asarray(other, float)
    if len(pairs) < _FEWEST_PAIRS:
        return Ratio(float(np.median(pairs)), None)
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(pairs, (_RESAMPLES, len(pairs))), axis=1)
    low, high = np.percentile(medians, (2.5, 97.5))
    return Ratio(float(np.median(pairs)), (float(low), float(high)))


def median_difference(ours: Sequence[float], other: Sequence[float]) -> float:
    """The median of ``ours`` − ``other``, pair by pair."""
    return float(np.median(np.asarray(ours, float) - np.asarray(other, float)))
