"""Turns a result into the answer that a caller of an endpoint gets, with the files in the answer or in a bucket."""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any

import pybase64

from worker.answer.conversion import convert
from worker.answer.kinds import answer_key
from worker.answer.reply import MB, Answer, plain
from worker.answer.result import Artifact, Result, Text
from worker.answer.room import Content, inline_size, json_size, make_room
from worker.answer.uploader import Uploader, UploadFailed
from worker.errors import AnswerTooLarge, ErrorType, JobInterrupted, failure
from worker.receipt.current import current, enter
from worker.redact import Sent, encodable, masked

GIVE_UP_S = 180.0  # Seconds for all uploads of a job, from the end of its graph.
_LINE = 300  # Bytes of the line about a file that could not be stored.


@dataclass(frozen=True)
class Delivery:
    """How a job's files reach its caller.

    Attributes:
        uploader: uploads the files; None if they are in the answer.
        limit_mb: the largest answer, in MB of 10⁶ bytes.
        secrets: the operator's keys, which no text or error line may show.
        machine_folders: folders of this machine, which no text of a node may show.
    """

    uploader: Uploader | None = None
    limit_mb: float | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    machine_folders: tuple[str, ...] = ()


def make_answer(result: Result, delivery: Delivery) -> Answer:
    """The answer, with every file as base64 or as a URL. If there are only errors, the job has failed.

    Raises:
        AnswerTooLarge: the files do not fit into the answer.
    """
    errors = [encodable(masked(error, delivery.secrets)) for error in result.errors]
    warnings = [encodable(masked(line, delivery.secrets)) for line in result.warnings]
    content = Content(
        convert(result.artifacts, result.image_format, warnings),
        [_text(text, delivery, result.sent) for text in result.texts],
        plain(result.ui, lambda text: _public(text, delivery, result.sent)) if result.ui else {},
    )
    is_inline, limit_mb = delivery.uploader is None, delivery.limit_mb
    warnings += make_room(content, limit_mb, [*errors, *warnings], inline=is_inline)
    texts = content.texts
    if delivery.uploader is None:
        entries = _inline(content.artifacts, limit_mb, errors)
    else:
        beside = [texts, warnings, content.report]
        entries = _uploaded(content.artifacts, delivery.uploader, limit_mb, errors, beside)
    _note_delivered([artifact for artifact, _ in entries])
    images = [entry for artifact, entry in entries if answer_key(artifact.key) == "images"]
    files = [entry for artifact, entry in entries if answer_key(artifact.key) == "files"]
    if errors and not (images or files or texts):
        return _failed(result, errors) | ({"warnings": warnings} if warnings else {})
    answer: Answer = {"images": images}
    if not images and not errors:
        answer = {"status": "success_no_images", **answer}
    optional: Answer = {"files": files, "text": texts, "ui": content.report, "errors": errors, "warnings": warnings}
    if result.error is not None:
        optional["error_type"] = result.error.error_type
    return answer | {key: value for key, value in optional.items() if value}


def _note_delivered(artifacts: list[Artifact]) -> None:
    if (receipt := current()) is not None:
        receipt.counts.bytes_out = sum(artifact.size for artifact in artifacts)


def _failed(result: Result, errors: list[str]) -> Answer:
    if result.error is not None:
        others = [line for line in errors if line != str(result.error)]
        return result.error.answer() | ({"details": others} if others else {})
    if result.status == "interrupted":
        return JobInterrupted().answer()
    kind: ErrorType = "workflow_execution" if result.errors else "delivery"
    return {**failure("Job processing failed", kind), "details": errors}


def _text(text: Text, delivery: Delivery, sent: Sent) -> dict[str, str]:
    entry = {"node_id": encodable(text.node_id), "text": _public(text.text, delivery, sent)}
    return entry if text.key == "text" else {**entry, "key": _public(text.key, delivery, sent)}


def _public(text: str, delivery: Delivery, sent: Sent) -> str:
    """A node's text, without folders of this machine, but with those that the caller has written."""
    for folder in delivery.machine_folders:
        if f"{folder}/" in text and folder not in sent:
            text = text.replace(f"{folder}/", "")
    return masked(text, delivery.secrets)


_Entry = dict[str, str]
_Entries = list[tuple[Artifact, _Entry]]


def _inline(artifacts: list[Artifact], limit_mb: float | None, errors: list[str]) -> _Entries:
    size = sum(map(inline_size, artifacts))
    if limit_mb is not None and size > limit_mb * MB:
        raise AnswerTooLarge(size / MB, limit_mb)
    read = [(artifact, _read(artifact, errors)) for artifact in artifacts]
    return [(artifact, entry) for artifact, entry in read if entry is not None]


def _uploaded(
    artifacts: list[Artifact], uploader: Uploader, limit_mb: float | None, errors: list[str], beside: Any
) -> _Entries:
    """Entries with URLs for files that could be stored. The others hold the file itself, as long as there is room.

    ``beside``: what else is in the answer.
    """
    enter("upload")
    uploads = [_begun(uploader, artifact) for artifact in artifacts]
    deadline = time.monotonic() + GIVE_UP_S
    entries: list[_Entry | None] = [None] * len(artifacts)
    unstored: list[tuple[int, str]] = []
    for index, upload in enumerate(uploads):
        try:
            entries[index] = _entry(artifacts[index], "s3_url", _url(upload, deadline))
        except UploadFailed as failed:
            unstored.append((index, str(failed)))
    enter("delivery")
    if (receipt := current()) is not None:
        receipt.counts.bucket_errors = len(unstored)
    left = float("inf")
    if unstored and limit_mb is not None:
        left = limit_mb * MB - json_size([entries, errors, beside]) - len(unstored) * _LINE
    for index, reason in unstored:
        artifact, size = artifacts[index], inline_size(artifacts[index])
        said = f"{encodable(artifact.filename)} could not be stored in the bucket ({reason})"
        if size > left:
            errors.append(f"{said}, and {artifact.size / MB:.1f} MB do not fit in here")
        elif (entry := _read(artifact, errors)) is not None:
            errors.append(f"{said}: it is sent as base64 instead")
            entries[index] = entry
            left -= size
    return [(artifact, entry) for artifact, entry in zip(artifacts, entries, strict=True) if entry is not None]


def _begun(uploader: Uploader, artifact: Artifact) -> Future[str]:
    try:
        return uploader.prepare(artifact)
    except Exception as error:  # noqa: BLE001 - such as no further thread. The file can still be sent as base64.
        failed: Future[str] = Future()
        failed.set_exception(error)
        return failed


def _url(upload: Future[str], deadline: float) -> str:
    try:
        return upload.result(max(0.0, deadline - time.monotonic()))
    except UploadFailed:
        raise
    except FutureTimeout:
        raise UploadFailed(f"no answer in {GIVE_UP_S:g} s") from None
    except Exception as error:  # noqa: BLE001 - one file's upload must not cost the others.
        raise UploadFailed(type(error).__name__) from None


def _read(artifact: Artifact, errors: list[str]) -> _Entry | None:
    """The entry with the file itself. None, with a line in ``errors``, if the file is not there any more."""
    try:
        return _entry(artifact, "base64", pybase64.b64encode_as_string(artifact.read()))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        errors.append(f"{encodable(artifact.filename)} could not be read ({reason}), and is not sent")
        return None


def _entry(artifact: Artifact, kind: str, data: str) -> _Entry:
    entry = {
        "filename": encodable(artifact.filename),
        "type": kind,
        "data": data,
        "node_id": encodable(artifact.node_id),
        "media_type": artifact.media_type,
    }
    return {**entry, "subfolder": encodable(artifact.subfolder)} if artifact.subfolder else entry
