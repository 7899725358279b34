"""The files that are kept for one node in ComfyUI's cache."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from worker.embedded.cache.fingerprint import JobContent

_NUMBERED = re.compile(r"(.*?)_(\d{5,})_?\.\w+")


@dataclass(frozen=True)
class Unlisted:
    """Files of a node that its ui dict does not name, as paths in the output folder.

    The node's inputs do not prove that they are its own, since another node may have left a thread that saved them. So
    only an equal job may get them again.

    Attributes:
        job: different for each job that asks for something else (``JobContent.digest``).
        unnamed: files that the node has saved without naming them.
        sent: names of those that the worker made of pictures for ComfyUI's page.
    """

    job: str
    unnamed: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeptFile:
    """A second name of a file that a job has saved.

    ``relative``: its path in the output folder. ``second``: its second name, a link or a copy. ``stamp``: its size in
    bytes and its modification time, to notice a later change.
    """

    relative: str
    second: str
    stamp: tuple[int, int]

    @property
    def size(self) -> int:
        return self.stamp[0]

    def is_unchanged(self) -> bool:
        return stamp(self.second) == self.stamp

    def counter(self) -> tuple[str, int] | None:
        """The prefix and the number of a name such as ``ComfyUI_00002_.png``."""
        numbered = _NUMBERED.fullmatch(self.relative)
        return (numbered[1], int(numbered[2])) if numbered else None


@dataclass(frozen=True)
class Kept:
    """A node's files.

    ``only_saves``: the node returns the same objects that it was given, so it computes nothing. ``unlisted``: those of
    the files that its ui dict does not name.
    """

    files: tuple[KeptFile, ...]
    only_saves: bool
    unlisted: Unlisted | None = None

    def is_for(self, content: JobContent) -> bool:
        """Whether a job may get these files, if it has this node."""
        return self.unlisted is None or self.unlisted.job == content.digest


def stamp(path: str) -> tuple[int, int]:
    """A file's size in bytes, and its modification time."""
    status = os.stat(path)  # noqa: PTH116 - faster.
    return status.st_size, status.st_mtime_ns


def out_of_order(found: Mapping[str, Kept]) -> set[str]:
    """Nodes that only save, and whose kept files have higher numbers than this job would give them."""
    numbers: dict[str, set[int]] = {}
    counters = {node_id: [c for file in kept.files if (c := file.counter())] for node_id, kept in found.items()}
    for prefix, number in itertools.chain.from_iterable(counters.values()):
        numbers.setdefault(prefix, set()).add(number)
    first_gap = {prefix: next(n for n in itertools.count(1) if n not in used) for prefix, used in numbers.items()}
    return {
        node_id
        for node_id, used in counters.items()
        if found[node_id].only_saves and any(number > first_gap[prefix] for prefix, number in used)
    }
