"""Mixes the jobs of a soak at random, in an order that depends only on the seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from soaking.drafts import STOPPED, Draft, all_drafts, probe_job, slow_job, stopped_job, unique_job

# How often each kind is drawn. ``again``: the last good job once more. ``stopped in line``: a slow job, and a second
# job that is stopped while it waits for the first.
_WEIGHTS = {
    "unique": 247, "pictures": 170, "inputs": 130, "other outputs": 100, "failing": 90, "refused": 90, "again": 80,
    "sampler": 25, "slow": 20, "timed out": 20, "stopped": 20, "stopped in line": 8,
}  # fmt: skip
# These come first, so that after ten jobs the process holds all that it keeps: the sampler's model, threads in pools.
_FIRST = ("sampler 1, 64", "batch", "invert 640x480", "load 1500x1000", "slow", "load 640x480", "solid 1024",
          "after 0.3 s", "animated webp")  # fmt: skip
_SIZES = ((64, 64), (64, 64), (128, 96), (256, 256), (800, 600))
_Faults = tuple[tuple[tuple[int, ...], int], ...]
# The bucket's answers to the first uploads of a file, and how often they are drawn. 0 cuts the connection.
_BUCKET: _Faults = (((), 800), ((403,) * 8, 160), ((500,), 15), ((0,), 15), ((503, 0), 5), ((500,) * 4, 5))
# The platform's answers to posts of a result before it accepts one, and how often they are drawn.
_POSTS: _Faults = (((), 960), ((500,), 20), ((0,), 15), ((429, 503), 5))


@dataclass(frozen=True)
class SoakJob:
    """One job. ``bucket_faults`` and ``post_faults`` are HTTP statuses, 0 for a cut connection."""

    id: str
    draft: Draft
    bucket_faults: tuple[int, ...] = ()
    post_faults: tuple[int, ...] = ()

    @property
    def misses_bucket(self) -> bool:
        """Whether the bucket refuses all uploads of its files, so that they must come in the answer."""
        return 403 in self.bucket_faults or len(self.bucket_faults) >= 4


class Mix:
    """Makes jobs without end: first every draft once, those in ``_FIRST`` first; then drafts at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a mix of jobs, no secret.
        self._colors = itertools.count(1)
        self._drafts = all_drafts()
        self._last = probe_job()

    def jobs(self, probes: set[int]) -> Iterator[SoakJob]:
        """All jobs, numbered from 1. The jobs with numbers in ``probes`` are probes."""
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
