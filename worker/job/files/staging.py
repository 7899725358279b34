"""Stages a job's input files: decodes or fetches each one, checks it, and writes it to the job's folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from worker.errors import FetchFailed, InputsRefused, JobTooLarge
from worker.job.files.base64_text import decode_base64, without_prefix
from worker.job.files.content import Content, identify
from worker.job.files.decoded_size import decoded_size
from worker.job.files.heif import decode_heif, is_heif
from worker.job.files.texts import has_text_name, is_manifest, text_media_type
from worker.job.job import InputImage


@dataclass(frozen=True)
class InputLimits:
    """``max_bytes``: largest size of one decoded file. ``max_pixels``: most pixels of one image, all frames together.

    ``urls``: whether a file may be given as the URL of a public address. ``max_decoded``: most bytes that all files of
    a job may have when they are decoded; 0: no limit. ``counts_films``: whether this includes videos and sounds. Nodes
    need not decode these as a whole. ``any_kind``: whether files of unknown kinds are taken.
    """

    max_bytes: int
    max_pixels: int
    urls: bool = False
    max_decoded: int = 0
    counts_films: bool = False
    any_kind: bool = False


@dataclass(frozen=True)
class Staged:
    """``hashes``: content hash of each file by its name. ``warnings``: lines for the caller, who need not act.

    ``size``: bytes of all files together.
    """

    hashes: dict[str, str]
    warnings: tuple[str, ...] = ()
    size: int = 0


class _Refusal(Exception):
    """One file cannot be used. The text is the line that the caller gets about it."""


def stage(images: Iterable[InputImage], folder: Path, limits: InputLimits) -> Staged:
    """Write each file under its name into ``folder``, which no other job uses.

    Raises:
        InputsRefused: some files cannot be used. Its ``details`` have one line for each.
        JobTooLarge: the files are too large together when they are decoded.
    """
    images = tuple(images)
    hashes: dict[str, str] = {}
    details, warnings = [], []
    decoded: dict[str, int] = {}
    bytes_in = 0
    fetched = _fetch(images, limits)
    for image in images:
        try:
            data = fetched.get(image.name, image.data)
            checked, content = _checked(image.name, data, limits)
            hashes[image.name] = _write(folder, image.name, checked)
            bytes_in += len(checked)
            if content.remark:
                warnings.append(f"Input file '{image.name}': {content.remark}")
            decoded[image.name] = decoded_size(checked, content, films=limits.counts_films) if limits.max_decoded else 0
        except _Refusal as refusal:
            details.append(str(refusal))
    if details:
        raise InputsRefused(details)
    size = sum(decoded.values())
    if size > limits.max_decoded > 0:
        largest = max(decoded, key=lambda name: decoded[name])
        who = f"The input files have {size / 1e6:,.0f} MB when they are decoded (the largest: {largest})"
        raise JobTooLarge(who, limits.max_decoded)
    return Staged(hashes, tuple(warnings), bytes_in)


def _fetch(images: tuple[InputImage, ...], limits: InputLimits) -> dict[str, bytes | FetchFailed]:
    urls = {image.name: image.data.strip() for image in images if isinstance(image.data, str) and _is_url(image.data)}
    if not urls:
        return {}
    if not limits.urls:
        return dict.fromkeys(urls, FetchFailed("this worker does not take URLs; send the file as base64"))
    from worker.job.files.fetch import FetchLimits, fetch_all  # Slow to import, and most jobs have no URLs.

    return fetch_all(urls, FetchLimits(limits.max_bytes))


def _is_url(text: str) -> bool:
    return text[:16].lstrip()[:8].lower().startswith(("http://", "https://"))


def _checked(name: str, given: str | bytes | FetchFailed, limits: InputLimits) -> tuple[bytes, Content]:
    if isinstance(given, FetchFailed):
        raise _Refusal(f"Error downloading {name}: {given}")
    data = given if isinstance(given, bytes) else _decode(name, given, limits.max_bytes)
    if len(data) > limits.max_bytes:
        raise _Refusal(_too_large(name, len(data), limits.max_bytes))
    try:
        if is_heif(data):
            return _from_heif(data, limits)
        # A text in UTF-16 begins like an MP3. So what is named and readable as text is no medium.
        text_type = text_media_type(name, data)
        content = Content(text_type) if text_type else identify(data, limits.max_pixels)
    except ValueError as error:
        raise _Refusal(f"Error reading {name}: {error}") from None
    if not (content and content.pixels) and is_manifest(name, data):
        raise _Refusal(f"Error reading {name}: it is a playlist or another list of files, which nobody may send")
    return data, content or _other(name, limits)


def _from_heif(data: bytes, limits: InputLimits) -> tuple[bytes, Content]:
    decoded = decode_heif(data, limits.max_pixels)
    content = identify(decoded.png, limits.max_pixels) or Content("image/png")
    return decoded.png, replace(content, remark=decoded.remark)


def _other(name: str, limits: InputLimits) -> Content:
    """What a file is that is neither a medium nor a text."""
    if limits.any_kind:
        return Content("application/octet-stream")
    if has_text_name(name):
        why = "its content does not fit the ending of its name (texts are in UTF-8 or UTF-16)"
        raise _Refusal(f"Error reading {name}: {why}")
    raise _Refusal(f"Error reading {name}: it is no image, video, audio, latent or 3D model")


def _decode(name: str, text: str, max_bytes: int) -> bytes:
    encoded = without_prefix(text)
    if len(encoded) // 4 * 3 > 2 * max_bytes:  # Too large even if half is white space: refuse it without a copy.
        raise _Refusal(_too_large(name, len(encoded) // 4 * 3, max_bytes))
    try:
        return decode_base64(encoded)
    except ValueError as error:
        raise _Refusal(f"Error decoding base64 for {name}: {error}") from None


def _too_large(name: str, size: int, limit: int) -> str:
    return f"Error reading {name}: it has {size / 1e6:.1f} MB, the limit is {limit / 1e6:.1f} MB"


def _write(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    content = hashlib.blake2b(data, digest_size=16).hexdigest()
    # Some nodes notice that a file has changed only by its modification time. So derive this time from the content.
    time_s = 1_000_000_000 + int(content[:7], 16)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (time_s, time_s))
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise _Refusal(f"Error storing {name}: another image has the name of one of its folders") from None
    except OSError as error:
        raise _Refusal(f"Error storing {name}: {error.strerror}") from None
    return content
