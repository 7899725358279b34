"""Notices what a caller has probably not meant: a field with a misspelt name, an input file that no node names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from worker.job.job import Job
from worker.protocol.links import is_link
from worker.protocol.spelling import usual_name

_MOST = 20
_SHORT = 3
_PARTS = {"extrapnginfo": "extra_data", "workflow": "extra_pnginfo"}  # What belongs into a field.
_MOST_SEARCHED, _LONGEST_SEARCHED = 100, 1_000_000


def misspelt_fields(given: Mapping[str, Any], known: Iterable[str]) -> Iterator[str]:
    """A line for each field of ``given`` that is not known, and looks like one of ``known``."""
    known = tuple(known)
    others = [name for name in given if isinstance(name, str) and name not in known][:_MOST]
    parts = {part: name for part, name in _PARTS.items() if name in known}
    plain = parts | {_letters(name): name for name in known} if others else {}
    for name in others:
        letters = _letters(name[:100])
        # What differs from a short name by one letter is another name: 'uid' is not 'ui'.
        similar = [part for part in plain if len(part) > _SHORT or part == letters]
        meant = difflib.get_close_matches(letters, similar, n=1, cutoff=0.8)
        if meant:
            yield f"'{name[:100]}' is no field of a request, and was ignored: is '{plain[meant[0]]}' meant?"


def notices(job: Job) -> Iterator[str]:
    """A line for each thing about a request that its caller has probably not meant."""
    yield from job.warnings
    yield from unused_files(job)


def unused_files(job: Job) -> Iterator[str]:
    """A line for each file of a job that no node of its graph names, itself or the folder that it is in."""
    names = [image.name for image in job.images]
    if not names or not job.workflow:
        return
    texts = {usual_name(text) for node in job.workflow.values() for text in _texts(node["inputs"])}
    whole = "\n".join(texts)
    if len(names) > _MOST_SEARCHED or len(whole) > _LONGEST_SEARCHED:  # A notice is not worth seconds.
        return
    last_parts = {PurePosixPath(text).name for text in texts}
    unused = [
        name
        for name in names
        if not _stands_in(name, whole)
        and PurePosixPath(name).stem not in last_parts  # Some nodes add the ending.
        and not any(str(folder) in texts or f"{folder}/" in texts for folder in PurePosixPath(name).parents)
    ]
    for name in unused[:_MOST]:
        yield f"The input file '{name}' is named by no node of the workflow"
    if len(unused) > _MOST:
        yield f"{len(unused) - _MOST} further input files are named by no node of the workflow"


def _stands_in(name: str, text: str) -> bool:
    """Whether ``text`` has ``name``, and not only as the end of a longer name."""
    at = text.find(name)
    while at > 0 and (text[at - 1].isalnum() or text[at - 1] in "_-"):
        at = text.find(name, at + 1)
    return at >= 0


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) or (isinstance(value, list) and not is_link(value)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
