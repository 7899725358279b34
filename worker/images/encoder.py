"""Encodes a job's images into files, on threads, while further nodes run."""

from __future__ import annotations

import contextlib
import io
import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from worker.images.formats import ImageFormat
from worker.images.metadata import LARGEST_EXIF, exif, png_chunks, png_info
from worker.images.png import Chunk, Pixels, Strip, assemble, encode_strip, strip_rows
from worker.images.webp_jpeg import encode_webp_jpeg

OnFile = Callable[[Path], None]

_MAX_THREADS = 8
_MOST_WAITING_BYTES = 256 * 1024**2
_SMALL_BYTES = 32 * 1024


@dataclass(frozen=True)
class EncodeFailure:
    """A file that could not be made."""

    path: Path
    error: Exception


@dataclass
class Encoding:
    """One file that is being made. ``strips`` are its PNG strips, None until encoded. ``done`` ends with the file."""

    path: Path
    shape: tuple[int, int, int]
    chunks: tuple[Chunk, ...]
    strips: list[Strip | None]
    on_file: OnFile | None
    done: Future[None] = field(default_factory=Future)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, content: bytes) -> None:
        self.path.write_bytes(content)
        if self.on_file is not None:
            self.on_file(self.path)
        self.done.set_result(None)

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
    """

    def __init__(self, encoder: ImageEncoder, on_file: OnFile | None) -> None:
        self._encoder = encoder
        self._on_file = on_file
        self._encodings: list[Encoding] = []

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
        wait([encoding.done for encoding in waiting if encoding.path == path])
        if sum(math.prod(encoding.shape) for encoding in waiting) > _MOST_WAITING_BYTES:
            wait([waiting[0].done])

    def wait(self) -> None:
        """Wait until every file has its content."""
        wait([encoding.done for encoding in self._encodings])

    def complete(self, count: int) -> None:
        """Wait for the last ``count`` files, and raise the error of the first one that could not be made."""
        own, self._encodings = self._encodings[-count:], self._encodings[:-count]
        for failure in _failures(own):
            raise failure.error

    def finish(self) -> list[EncodeFailure]:
        """Wait for all files. Remove and return those that could not be made."""
        encodings, self._encodings = self._encodings, []
        return _failures(encodings)


def _failures(encodings: Iterable[Encoding]) -> list[EncodeFailure]:
    failures = []
    for encoding in encodings:
        error = encoding.done.exception()
        if error is not None:
            with contextlib.suppress(OSError, ValueError):  # The file is not there, or no file can have this name.
                encoding.path.unlink()
            failures.append(EncodeFailure(encoding.path, error if isinstance(error, Exception) else RuntimeError()))
    return failures


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
    try:
        image, block = Image.fromarray(pixels), exif(texts)
        try:
            content = encode_webp_jpeg(image, wanted, block)
        except ValueError:
            if block is None or len(block.tobytes()) < LARGEST_EXIF:
                raise
            content = encode_webp_jpeg(image, wanted)  # The workflow is too long for this format.
        encoding.write(content)
    except BaseException as error:  # noqa: BLE001 - ``finish`` returns it.
        encoding.fail(error)


def _encode_small(encoding: Encoding, pixels: Pixels, texts: Mapping[str, str]) -> None:
    """Encode with Pillow, on this thread: for a small image, the choice of a filter or another thread takes longer."""
    try:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", pnginfo=png_info(texts), compress_level=4)
        encoding.write(buffer.getvalue())
    except Exception as error:  # noqa: BLE001 - ``finish`` returns it.
        encoding.fail(error)
