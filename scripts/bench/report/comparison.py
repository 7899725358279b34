"""Computes the statistics: the spread of times, and ratios and differences of two lists, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 4000
_FEWEST_PAIRS = 3
_WIDEST = 0.15
# A checkout counts as slower than another one only if it is above both of these limits.
LIMIT_RATIO, LIMIT_MS = 1.05, 0.3


@dataclass(frozen=True)
class Spread:
    """Median, 95th percentile and minimum, in the unit of the values."""

    median: float
    p95: float
    minimum: float


@dataclass(frozen=True)
class Estimate:
    """A median of pairs, and its 95 % bootstrap interval, which is None for fewer than 3 pairs."""

    median: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Ratio(Estimate):
    """The median of the pairs' ratios."""

    @property
    def is_noisy(self) -> bool:
        """Whether the interval does not show who is ahead, or by how much: it contains 1, or is wider than ±15 %."""
        if self.interval is None:
            return True
        low, high = self.interval
        return low <= 1 <= high or (high - low) / 2 > _WIDEST * self.median


@dataclass(frozen=True)
class Change:
    """One checkout compared with another: the ratio, and the difference in milliseconds."""

    ratio: Ratio
    difference_ms: Estimate

    @property
    def is_within(self) -> bool:
        """Whether this checkout is at most ``LIMIT_RATIO`` times as slow, or at most ``LIMIT_MS`` slower."""
        return self.ratio.median <= LIMIT_RATIO or self.difference_ms.median <= LIMIT_MS

    @property
    def is_sure(self) -> bool:
        """Whether the whole intervals lead to the same ``is_within`` as the medians."""
        ratio, difference = self.ratio.interval, self.difference_ms.interval
        if ratio is None or difference is None:
            return False
        if self.is_within:
            return ratio[1] <= LIMIT_RATIO or difference[1] <= LIMIT_MS
        return ratio[0] > LIMIT_RATIO and difference[0] > LIMIT_MS


def spread(values: Sequence[float]) -> Spread:
    """The spread of ``values``."""
    return Spread(float(np.median(values)), float(np.percentile(values, 95)), min(values))


def ratio(ours: Sequence[float], other: Sequence[float]) -> Ratio:
    """``ours`` ÷ ``other``, pair by pair. The same values always give the same interval."""
    pairs = np.asarray(ours, float) / np.asarray(other, float)
    return Ratio(float(np.median(pairs)), _interval(pairs))


def difference(ours: Sequence[float], other: Sequence[float]) -> Estimate:
    """``ours`` − ``other``, pair by pair. The same values always give the same interval."""
    pairs = np.asarray(ours, float) - np.asarray(other, float)
    return Estimate(float(np.median(pairs)), _interval(pairs))


def _interval(pairs: NDArray[np.float64]) -> tuple[float, float] | None:
    if len(pairs) < _FEWEST_PAIRS:
        return None
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(pairs, (_RESAMPLES, len(pairs))), axis=1)
    low, high = np.percentile(medians, (2.5, 97.5))
    return float(low), float(high)
