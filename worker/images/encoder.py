"""Encodes a job's images into files, on threads, while further nodes run."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from worker.images.formats import PNG, ImageFormat
from worker.images.metadata import exif, image_texts, png_chunks
from worker.images.png import Chunk, Pixels, Strip, assemble, encode_strip, strip_rows
from worker.images.webp_jpeg import encode_webp_jpeg

OnFile = Callable[[Path], None]
OnEncoded = Callable[[float, float], None]

_MAX_THREADS = 8
_MOST_WAITING_BYTES = 256 * 1024**2
_SMALL_BYTES = 32 * 1024


@dataclass(frozen=True)
class EncodeFailure:
    """A file that could not be made. ``instead``: the PNG that was made in its place; None if there is none."""

    path: Path
    error: Exception
    instead: Path | None = None


@dataclass
class Encoding:
    """One file that is being made. ``strips`` are its PNG strips, None until encoded. ``done`` ends with the file.

    ``bare``: whether the file lacks the metadata, since its format does not take them.
    """

    path: Path
    shape: tuple[int, int, int]
    chunks: tuple[Chunk, ...]
    strips: list[Strip | None]
    on_file: OnFile | None
    done: Future[EncodeFailure | None] = field(default_factory=Future)
    lock: threading.Lock = field(default_factory=threading.Lock)
    bare: bool = False

    def write(self, content: bytes) -> None:
        self.path.write_bytes(content)
        self._tell(self.path)
        self.done.set_result(None)

    def write_instead(self, content: bytes, suffix: str, reason: Exception) -> None:
        """Write a file with another suffix, since this one cannot be made."""
        instead = _new_file(self.path.with_suffix(suffix))
        instead.write_bytes(content)
        self.path.unlink(missing_ok=True)
        self._tell(instead)
        self.done.set_result(EncodeFailure(self.path, reason, instead))

    def _tell(self, path: Path) -> None:
        if self.on_file is not None:
            self.on_file(path)

    def fail(self, error: BaseException) -> None:
        with self.lock:
            if not self.done.done():
                self.done.set_exception(error)


class ImageEncoder:
    """The threads that encode images. One ImageEncoder serves all jobs."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), "image-encoder")

    def submit(self, encoding: Encoding, pixels: Pixels, texts: Mapping[str, str], wanted: ImageFormat) -> None:
        """Encode ``pixels`` (H×W×C uint8) into ``encoding``: its PNG strips, or the whole file in another format."""
        try:
            if not encoding.strips:
                self._pool.submit(_encode_webp_jpeg, encoding, pixels, texts, wanted)
            for index, rows in enumerate(strip_rows(pixels) if encoding.strips else ()):
                self._pool.submit(_encode_strip, encoding, pixels, index, rows)
        except RuntimeError as error:  # The system gives no further thread.
            encoding.fail(error)


class JobImages:
    """The images of one job that are being encoded.

    An image's file exists from the start, but is empty until its content is encoded. So call ``wait`` before a node
    runs that may read the file.

    Args:
        encoder: the threads.
        on_file: called with each file that is complete, on any thread.
        on_encoded: called, on any thread, with when a file's encoding began and ended, by ``time.perf_counter``.

    Attributes:
        warnings: a line for each thing that a file lacks.
    """

    def __init__(self, encoder: ImageEncoder, on_file: OnFile | None, on_encoded: OnEncoded | None = None) -> None:
        self._encoder = encoder
        self._on_file, self._on_encoded = on_file, on_encoded
        self._encodings: list[Encoding] = []
        self.warnings: list[str] = []

    def texts(self, prompt: Any, extra_pnginfo: Mapping[str, Any] | None) -> dict[str, str]:
        """The metadata for the job's images, by name. What no file can hold is left out, with a warning."""
        texts, left_out = image_texts(prompt, extra_pnginfo)
        self.warnings += [f"The images have no metadata '{name[:100]}': no file can hold it" for name in left_out]
        return texts

    def add(self, path: Path, pixels: Pixels, texts: Mapping[str, str], wanted: ImageFormat) -> None:
        """Begin to encode ``pixels`` (H×W×C uint8, C 3 or 4) into ``path``.

        Raises:
            OSError, ValueError: no file can have this name.
        """
        self._make_room(path)
        is_small = wanted.name == "png" and pixels.nbytes < _SMALL_BYTES
        strip_count = len(strip_rows(pixels)) if wanted.name == "png" and not is_small else 0
        chunks = png_chunks(texts) if strip_count else ()
        encoding = Encoding(path, pixels.shape, chunks, [None] * strip_count, self._on_file)
        if (on_encoded := self._on_encoded) is not None:
            began = time.perf_counter()
            encoding.done.add_done_callback(lambda _: on_encoded(began, time.perf_counter()))
        if is_small:
            self._encodings.append(encoding)
            _encode_small(encoding, pixels, texts)
            return
        path.write_bytes(b"")  # Reserve the name, so that ComfyUI gives the next image another one.
        self._encodings.append(encoding)
        self._encoder.submit(encoding, pixels, texts, wanted)

    def _make_room(self, path: Path) -> None:
        """Wait for an earlier file of this name (``%batch_num%`` may repeat one), and if too many pixels wait."""
        waiting = [encoding for encoding in self._encodings if not encoding.done.done()]
        if waiting:
            wait([encoding.done for encoding in waiting if encoding.path == path])
        if sum(math.prod(encoding.shape) for encoding in waiting) > _MOST_WAITING_BYTES:
            wait([waiting[0].done])

    def wait(self) -> None:
        """Wait until every file has its content."""
        for encoding in self._encodings:
            encoding.done.exception()  # Returns once it is done.

    def complete(self, count: int) -> list[Path]:
        """Wait for the last ``count`` files. Returns their paths; a PNG may have taken a file's place.

        Raises the error of the first file that could not be made.
        """
        own, self._encodings = self._encodings[-count:], self._encodings[:-count]
        made = {encoding.path: encoding.path for encoding in own}
        for failure in self._failures(own):
            if failure.instead is None:
                raise failure.error
            made[failure.path] = failure.instead
        return [made[encoding.path] for encoding in own]

    def finish(self) -> list[EncodeFailure]:
        """Wait for all files. Remove and return those that could not be made."""
        encodings, self._encodings = self._encodings, []
        return self._failures(encodings)

    def _failures(self, encodings: Iterable[Encoding]) -> list[EncodeFailure]:
        failures = []
        for encoding in encodings:
            error = encoding.done.exception()
            if error is not None:
                with contextlib.suppress(OSError, ValueError):  # The file is not there, or no file can have this name.
                    encoding.path.unlink()
                failures.append(EncodeFailure(encoding.path, error if isinstance(error, Exception) else RuntimeError()))
            elif (failure := encoding.done.result()) is not None:
                failures.append(failure)
            if encoding.bare:
                self.warnings.append(f"{encoding.path.name} has no metadata: the workflow is too long for its format")
        return failures


def _new_file(path: Path) -> Path:
    """Make an empty file at ``path``, or at the first of ``path-2``, ``path-3``, … where there is none."""
    for count in itertools.count(1):
        candidate = path if count == 1 else path.with_stem(f"{path.stem}-{count}")
        with contextlib.suppress(FileExistsError):
            candidate.touch(exist_ok=False)
            break
    return candidate


def _encode_strip(encoding: Encoding, pixels: Pixels, index: int, rows: range) -> None:
    try:
        strip = encode_strip(pixels, rows)
        with encoding.lock:
            encoding.strips[index] = strip
            strips = [done for done in encoding.strips if done is not None]
        if len(strips) == len(encoding.strips):  # This is the last one, so it writes the file.
            encoding.write(assemble(encoding.shape, strips, encoding.chunks))
    except BaseException as error:  # noqa: BLE001 - ``finish`` returns it.
        encoding.fail(error)


def _encode_webp_jpeg(encoding: Encoding, pixels: Pixels, texts: Mapping[str, str], wanted: ImageFormat) -> None:
    """Encode into ``wanted``; without the metadata if that fails; and as PNG if that fails, too."""
    try:
        image = Image.fromarray(pixels)
        try:
            content, encoding.bare = _with_metadata(image, texts, wanted)
        except Exception as error:  # noqa: BLE001 - such as a picture that is too complex for WebP.
            encoding.write_instead(_png(pixels, texts), PNG.suffix, error)
        else:
            encoding.write(content)
    except BaseException as error:  # noqa: BLE001 - ``finish`` returns it.
        encoding.fail(error)


def _with_metadata(image: Image.Image, texts: Mapping[str, str], wanted: ImageFormat) -> tuple[bytes, bool]:
    """The file's content, and whether it lacks the metadata, which the format does not take."""
    if texts:
        with contextlib.suppress(Exception):
            return encode_webp_jpeg(image, wanted, exif(texts)), False
    return encode_webp_jpeg(image, wanted), bool(texts)


def _encode_small(encoding: Encoding, pixels: Pixels, texts: Mapping[str, str]) -> None:
    """Encode on this thread: for a small image, another thread takes longer."""
    try:
        encoding.write(_png(pixels, texts))
    except Exception as error:  # noqa: BLE001 - ``finish`` returns it.
        encoding.fail(error)


def _png(pixels: Pixels, texts: Mapping[str, str]) -> bytes:
    strips = [encode_strip(pixels, rows) for rows in strip_rows(pixels)]
    return assemble(pixels.shape, strips, png_chunks(texts))
