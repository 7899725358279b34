"""Makes room in an answer: what nobody may look for is left out first, and the answer says so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from worker.answer.reply import MB, Answer
from worker.answer.result import Artifact
from worker.redact import encodable, listed

_AROUND_ENTRY = 200  # Bytes of an entry beside its file and its folder.
_URL = 2000  # Bytes that an entry with a URL has at most, mostly.
_AROUND_ANSWER = 1000  # With a line about what is left out.
_MOST_REPORT = 5 * MB  # Bytes of all ui dicts.
_MOST_NAMES = 5


@dataclass
class Content:
    """What an answer should have.

    ``texts``: as in the answer. ``report``: the ui dict of each node, by its id.
    """

    artifacts: list[Artifact]
    texts: list[dict[str, str]]
    report: Answer


@dataclass(frozen=True)
class _Surplus:
    """A part of the answer that may be left out. ``size``: in bytes."""

    part: Any
    name: str
    size: int


def inline_size(artifact: Artifact) -> int:
    """Bytes that ``artifact`` takes in an answer."""
    return (artifact.size + 2) // 3 * 4 + _AROUND_ENTRY


def json_size(value: Any) -> int:
    """Bytes of ``value`` in an answer."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def make_room(content: Content, limit_mb: float | None, lines: Sequence[str], *, inline: bool) -> Iterator[str]:
    """Leave out of ``content`` what does not fit into the answer. Yields a line about it.

    Left out are files that no node has named, then texts under other keys than ``text``, then ui dicts; of each kind
    the largest first.

    Args:
        content: what the answer should have.
        limit_mb: the largest answer, in MB of 10⁶ bytes; None: no limit.
        lines: the errors and warnings that the answer has.
        inline: whether the files are in the answer, and not in a bucket.
    """
    reports = [_Surplus(key, f"the ui dict of node {key}", json_size(ui)) for key, ui in content.report.items()]
    gone = _largest(reports, sum(each.size for each in reports) - _MOST_REPORT)
    if gone:
        yield f"All ui dicts together may have {_MOST_REPORT / MB:g} MB, so these are left out: {_names(gone)}"
        _leave_out(content, gone)
    kinds = (_unnamed_files(content) if inline else [], _other_texts(content), [r for r in reports if r not in gone])
    if limit_mb is None or not any(kinds):
        return
    files = sum(map(inline_size, content.artifacts)) if inline else len(content.artifacts) * _URL
    over = files + json_size([content.texts, content.report, lines]) + _AROUND_ANSWER - limit_mb * MB
    gone = []
    for kind in kinds:
        gone += _largest(kind, over - sum(each.size for each in gone))
    if gone:
        advice = ". A bucket (BUCKET_ENDPOINT_URL) gets all files" if inline else ""
        yield f"The answer may have {limit_mb:g} MB (MAX_RESPONSE_MB), so these are left out: {_names(gone)}{advice}"
        _leave_out(content, gone)


def _unnamed_files(content: Content) -> list[_Surplus]:
    files = [artifact for artifact in content.artifacts if not artifact.is_named]
    return [_Surplus(a, f"{encodable(a.filename)}, which no node has named", inline_size(a)) for a in files]


def _other_texts(content: Content) -> list[_Surplus]:
    texts = [text for text in content.texts if "key" in text]
    return [_Surplus(text, f"{text['key']} of node {text['node_id']}", json_size(text)) for text in texts]


def _largest(parts: Sequence[_Surplus], over: float) -> list[_Surplus]:
    """The largest of ``parts``, as many as must go so that ``over`` bytes become free."""
    gone: list[_Surplus] = []
    for part in sorted(parts, key=lambda each: -each.size):
        if over <= 0:
            break
        gone.append(part)
        over -= part.size
    return gone


def _names(gone: Sequence[_Surplus]) -> str:
    return listed([f"{each.name} ({each.size / MB:.1f} MB)" for each in gone], _MOST_NAMES)


def _leave_out(content: Content, gone: Sequence[_Surplus]) -> None:
    parts = {id(each.part) for each in gone}
    content.artifacts = [artifact for artifact in content.artifacts if id(artifact) not in parts]
    content.texts = [text for text in content.texts if id(text) not in parts]
    content.report = {key: ui for key, ui in content.report.items() if id(key) not in parts}
