"""The jobs of a soak, in their order. The same seed gives the same jobs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from soaking.drafts import STOPPED, Draft, all_drafts, probe_job, slow_job, stopped_job, unique_job

# How often each kind is drawn. ``again``: a good job once more. ``stopped in line``: a slow job, and a second one that
# is stopped while it waits for the first.
_WEIGHTS = {
    "unique": 247, "pictures": 170, "inputs": 130, "other outputs": 100, "failing": 90, "refused": 90, "again": 80,
    "sampler": 25, "slow": 20, "timed out": 20, "stopped": 20, "stopped in line": 8,
}  # fmt: skip
# These come first, so that after ten jobs the process holds all that it keeps: the sampler's model, threads in pools.
_FIRST = ("sampler 1, 64", "batch", "invert 640x480", "load 1500x1000", "slow", "load 640x480", "solid 1024",
          "after 0.3 s", "animated webp")  # fmt: skip
_SIZES = ((64, 64), (64, 64), (128, 96), (256, 256), (800, 600))
_Faults = tuple[tuple[tuple[int, ...], int], ...]
# What the bucket answers the first uploads of a file with, and how often that is drawn; 0 cuts the connection.
_BUCKET: _Faults = (((), 800), ((403,) * 8, 160), ((500,), 15), ((0,), 15), ((503, 0), 5), ((500,) * 4, 5))
# What the platform answers posts of results with, before it takes one.
_POSTS: _Faults = (((), 960), ((500,), 20), ((0,), 15), ((429, 503), 5))


@dataclass(frozen=True)
class SoakJob:
    """One job. ``bucket_faults``, ``post_faults``: HTTP statuses, 0 for a cut connection."""

    id: str
    draft: Draft
    bucket_faults: tuple[int, ...] = ()
    post_faults: tuple[int, ...] = ()

    @property
    def misses_bucket(self) -> bool:
        """Whether the bucket refuses its files at every try, so that they come in the answer."""
        return 403 in self.bucket_faults or len(self.bucket_faults) >= 4


class Mix:
    """Endless jobs: first every draft once, those of ``_FIRST`` before the others; then drafts at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a mix of jobs, no secret.
        self._colors = itertools.count(1)
        self._drafts = all_drafts()
        self._last = probe_job()

    def jobs(self, probes: set[int]) -> Iterator[SoakJob]:
        """All jobs, numbered from 1; those of the numbers ``probes`` are probes."""
        drafts = self._ordered()
        for number in itertools.count(1):
            if number in probes:
                yield SoakJob(f"soak-{number}", probe_job())
                continue
            draft = next(drafts)
            bucket = self._drawn(_BUCKET) if draft.has_files else ()
            posts = () if draft.error_type == STOPPED else self._drawn(_POSTS)
            yield SoakJob(f"soak-{number}", draft, bucket, posts)

    def _ordered(self) -> Iterator[Draft]:
        every = [draft for drafts in self._drafts.values() for draft in drafts]
        self._random.shuffle(every)
        yield from sorted(every, key=lambda draft: _FIRST.index(draft.name) if draft.name in _FIRST else len(_FIRST))
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        while True:
            yield from self._some(self._random.choices(kinds, weights)[0])

    def _some(self, kind: str) -> list[Draft]:
        if kind == "again":
            return [self._last]
        if kind == "stopped in line":
            return [slow_job(), stopped_job(0.2)]
        if kind == "unique":
            draft = unique_job(next(self._colors) * 7919 % 0xFFFFFF, *self._random.choice(_SIZES))
        else:
            draft = self._random.choice(self._drafts[kind])
        if draft.error_type is None:
            self._last = draft
        return [draft]

    def _drawn(self, choices: _Faults) -> tuple[int, ...]:
        faults, weights = zip(*choices, strict=True)
        chosen: tuple[int, ...] = self._random.choices(faults, weights)[0]
        return chosen
