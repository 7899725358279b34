"""Turns a result into the answer that a caller of an endpoint gets, with the files in the answer or in a bucket."""

from __future__ import annotations

import io
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from pathlib import Path

import pybase64
from PIL import Image

from worker.answer.kinds import answer_key
from worker.answer.reply import MB, Answer
from worker.answer.result import Artifact, Result
from worker.answer.uploader import Uploader, UploadFailed
from worker.errors import AnswerTooLarge, ErrorType, JobInterrupted, failure
from worker.images.formats import ImageFormat
from worker.images.webp_jpeg import AlphaLost, encode_webp_jpeg
from worker.redact import encodable, masked

GIVE_UP_S = 180.0  # Seconds for all uploads of a job, from the end of its graph.


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
    names = {(artifact.subfolder, artifact.filename.lower()) for artifact in result.artifacts}
    artifacts = [_converted(artifact, result.image_format, names, errors) for artifact in result.artifacts]
    if delivery.uploader is None:
        entries = _inline(artifacts, delivery.limit_mb)
    else:
        entries = _uploaded(artifacts, delivery.uploader, delivery.limit_mb, errors)
    images = [entry for artifact, entry in entries if answer_key(artifact.key) == "images"]
    files = [entry for artifact, entry in entries if answer_key(artifact.key) == "files"]
    texts = [{"node_id": encodable(text.node_id), "text": _public(text.text, delivery)} for text in result.texts]
    if errors and not (images or files or texts):
        return _failed(result, errors)
    answer: Answer = {"images": images}
    if not images and not errors:
        answer = {"status": "success_no_images", **answer}
    warnings = [encodable(line) for line in result.warnings]
    optional = {"files": files, "text": texts, "errors": errors, "warnings": warnings}
    if result.error is not None:
        optional["error_type"] = result.error.error_type
    return answer | {key: value for key, value in optional.items() if value}


def _failed(result: Result, errors: list[str]) -> Answer:
    if result.error is not None:
        others = [line for line in errors if line != str(result.error)]
        return result.error.answer() | ({"details": others} if others else {})
    if result.status == "interrupted":
        return JobInterrupted().answer()
    kind: ErrorType = "workflow_execution" if result.errors else "delivery"
    return {**failure("Job processing failed", kind), "details": errors}


def _public(text: str, delivery: Delivery) -> str:
    """A node's text, without folders of this machine. Other paths stay, since the caller may have written them."""
    for folder in delivery.machine_folders:
        text = text.replace(f"{folder}/", "")
    return masked(text, delivery.secrets)


_Entries = list[tuple[Artifact, dict[str, str]]]


def _inline(artifacts: list[Artifact], limit_mb: float | None) -> _Entries:
    size = sum(map(_inline_size, artifacts))
    if limit_mb is not None and size > limit_mb * MB:
        raise AnswerTooLarge(size / MB, limit_mb)
    return [(artifact, _entry(artifact, "base64", _base64(artifact))) for artifact in artifacts]


def _uploaded(artifacts: list[Artifact], uploader: Uploader, limit_mb: float | None, errors: list[str]) -> _Entries:
    """Entries with URLs for files that could be stored. The others hold the file itself, as long as there is room."""
    uploads = [(artifact, uploader.prepare(artifact)) for artifact in artifacts]
    deadline = time.monotonic() + GIVE_UP_S
    room = float("inf") if limit_mb is None else limit_mb * MB
    entries: _Entries = []
    for artifact, upload in uploads:
        try:
            entries.append((artifact, _entry(artifact, "s3_url", _url(upload, deadline))))
            continue
        except UploadFailed as failed:
            name, reason = encodable(artifact.filename), str(failed)
        room -= _inline_size(artifact)
        if room < 0:
            room += _inline_size(artifact)
            size = artifact.path.stat().st_size / MB
            errors.append(f"{name} could not be stored in the bucket ({reason}), and {size:.1f} MB do not fit in here")
        else:
            errors.append(f"{name} could not be stored in the bucket ({reason}): it is sent as base64 instead")
            entries.append((artifact, _entry(artifact, "base64", _base64(artifact))))
    return entries


def _url(upload: Future[str], deadline: float) -> str:
    try:
        return upload.result(max(0.0, deadline - time.monotonic()))
    except FutureTimeout:
        raise UploadFailed(f"no answer in {GIVE_UP_S:g} s") from None


def _entry(artifact: Artifact, kind: str, data: str) -> dict[str, str]:
    return {
        "filename": encodable(artifact.filename),
        "type": kind,
        "data": data,
        "node_id": encodable(artifact.node_id),
        "media_type": artifact.media_type,
    }


def _base64(artifact: Artifact) -> str:
    return pybase64.b64encode_as_string(artifact.read())


def _inline_size(artifact: Artifact) -> int:
    """Bytes that ``artifact`` takes in an answer."""
    return (artifact.path.stat().st_size + 2) // 3 * 4 + 200


def _converted(artifact: Artifact, wanted: ImageFormat, names: set[tuple[str, str]], errors: list[str]) -> Artifact:
    """``artifact``. A PNG that is not animated is converted to the wanted format."""
    if wanted.name == "png" or artifact.key != "images" or artifact.media_type != "image/png":
        return artifact
    try:
        with Image.open(io.BytesIO(artifact.read())) as image:
            if getattr(image, "n_frames", 1) > 1:
                return artifact
            content = encode_webp_jpeg(image, wanted)
    except AlphaLost as error:
        errors.append(f"{encodable(artifact.filename)} is sent as PNG: {error}")
        return artifact
    except Exception as error:  # noqa: BLE001 - Pillow may raise anything for a file that is no picture.
        errors.append(f"{encodable(artifact.filename)} is sent as it is: it is no picture ({type(error).__name__})")
        return artifact
    filename = _free_name(artifact, wanted, names)
    path = artifact.path.with_name(filename)
    path.write_bytes(content)
    return replace(artifact, filename=filename, media_type=wanted.media_type, path=path)


def _free_name(artifact: Artifact, wanted: ImageFormat, names: set[tuple[str, str]]) -> str:
    """The file's name with the format's ending, and with a number if another file has that name."""
    stem, count = Path(artifact.filename).stem, 1
    filename = stem + wanted.suffix
    while (artifact.subfolder, filename.lower()) in names:
        count += 1
        filename = f"{stem}-{count}{wanted.suffix}"
    names.add((artifact.subfolder, filename.lower()))
    return filename
