"""SaveImage without the wait: its pixels are copied at once, and encoded in threads while further nodes run.

Only ComfyUI's own ``SaveImage`` into the output folder is taken over, and only where its images are what it documents;
subclasses (PreviewImage, those of node packs), other folders and odd tensors go through ComfyUI's own code. A file's
name is taken, with an empty file, before its content is there; whoever may open files waits for the content.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import io
import json
import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from worker.images.formats import PNG, ImageFormat
from worker.images.png import Chunk, Pixels, Strip, assemble, encode_strip, strip_rows
from worker.images.webp_jpeg import encode_lossy

OnFile = Callable[[Path], None]

_MAX_THREADS = 8
_MOST_WAITING_BYTES = 256 * 1024**2
_SMALL_BYTES = 32 * 1024
_ROWS_AT_ONCE = 64  # What fits a core's cache.
_CORE_MODULES = ("nodes", "comfy_extras.")
_READERS = ("Load", "Webcam", "Record", "File")  # In the names of ComfyUI's own nodes that read files.
_LARGEST = {"png": 2**31 - 1, "webp": 16_383, "jpeg": 65_500}  # Pixels a side.
# Where ComfyUI's own nodes for other formats put them, too: tags 0x0110 (Model) and 0x010F (Make).
_MAX_EXIF = 65_000
_EXIF_PROMPT, _EXIF_REST = 0x0110, 0x010F


@dataclass(frozen=True)
class SaveFailure:
    """A file that could not be made."""

    path: Path
    error: Exception


@dataclass
class _Saving:
    """One file on its way: its strips in order, as they are done, and the future of the file."""

    path: Path
    shape: tuple[int, int, int]
    chunks: tuple[Chunk, ...]
    strips: list[Strip | None]
    done: Future[None] = field(default_factory=Future)
    lock: threading.Lock = field(default_factory=threading.Lock)


class ImageSaver:
    """Saves images for ``SaveImage``, in threads of its own.

    Args:
        main: ComfyUI's ``main`` module.
        output: its output folder.
    """

    def __init__(self, main: Any, output: Path) -> None:
        self._main = main
        self._output = f"{output}"
        self._pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), "image-encoder")
        self._savings: list[_Saving] = []
        self._torch = importlib.import_module("torch")
        self._format = PNG
        self._on_file: OnFile | None = None
        self._may_defer = False

    def install(self) -> None:
        """Take over ``SaveImage``."""
        save_image = self._main.nodes.SaveImage
        stock = save_image.save_images

        @functools.wraps(stock)
        def save_images(node: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
            if type(node) is save_image and self._takes(node, images):
                return self._save(node, images, *args, **kwargs)
            return stock(node, images, *args, **kwargs)

        save_image.save_images = save_images

    def begin(self, image_format: ImageFormat, on_file: OnFile | None) -> None:
        """From here on, images are for a job that wants ``image_format``; ``on_file`` is told of each that is done."""
        self._format = image_format
        self._on_file = on_file

    def node_starts(self, class_type: str | None) -> None:
        """A node is about to run. Any but ComfyUI's own that load nothing may open files, and finds them whole."""
        node_class = self._main.nodes.NODE_CLASS_MAPPINGS.get(class_type)
        self._may_defer = node_class is self._main.nodes.SaveImage
        module = getattr(node_class, "RELATIVE_PYTHON_MODULE", "nodes")
        is_known = node_class is not None and module.startswith(_CORE_MODULES)
        if not is_known or any(word in str(class_type) for word in _READERS):
            self.wait()

    def wait(self) -> None:
        """Until every file has its content."""
        wait([saving.done for saving in self._savings])

    def _complete(self, count: int) -> None:
        """Wait for the last ``count`` files; what went wrong with them is the error of the node that runs."""
        own, self._savings = self._savings[-count:], self._savings[:-count]
        for failure in _failures(own):
            raise failure.error

    def finish(self) -> list[SaveFailure]:
        """Wait, and tell which files could not be made; they are gone."""
        savings, self._savings = self._savings, []
        return _failures(savings)

    def _takes(self, node: Any, images: Any) -> bool:
        return (
            vars(node) == {"output_dir": self._output, "type": "output", "prefix_append": "", "compress_level": 4}
            and isinstance(images, self._torch.Tensor)
            and images.ndim == 4
            and min(images.shape[:3]) > 0
            and images.shape[3] in (3, 4)
            and images.is_floating_point()
        )

    def _save(
        self,
        node: Any,
        images: Any,
        filename_prefix: str = "ComfyUI",
        prompt: Any = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        height, width = images.shape[1:3]
        folder, name, counter, subfolder, _ = self._main.folder_paths.get_save_image_path(
            filename_prefix, node.output_dir, width, height
        )
        texts = {} if self._main.args.disable_metadata else _texts(prompt, extra_pnginfo)
        wanted = self._format if max(height, width) <= _LARGEST[self._format.name] else PNG
        entries = []
        for index, image in enumerate(images):
            numbered = name.replace("%batch_num%", str(index))
            file = f"{numbered}_{counter + index:05}_{wanted.suffix}"
            path = Path(folder, file)
            self._make_room(path)
            self._encode(path, to_pixels(image.cpu().numpy()), texts, wanted)
            entries.append({"filename": file, "subfolder": subfolder, "type": "output"})
        # Another node that uses this one may go on with the files; one that awaits something may look at them.
        if not self._may_defer or _others_run():
            self._complete(len(entries))
        answer: dict[str, Any] = {"ui": {"images": entries}}
        # Newer versions hand the images on.
        return {**answer, "result": (images,)} if node.RETURN_TYPES else answer

    def _make_room(self, path: Path) -> None:
        """Wait for an earlier file of this name, as ``%batch_num%`` makes them, and where too many pixels wait."""
        waiting = [saving for saving in self._savings if not saving.done.done()]
        wait([saving.done for saving in waiting if saving.path == path])
        if sum(math.prod(saving.shape) for saving in waiting) > _MOST_WAITING_BYTES:
            wait([waiting[0].done])

    def _encode(self, path: Path, pixels: Pixels, texts: Mapping[str, str], wanted: ImageFormat) -> None:
        is_small = wanted.name == "png" and pixels.nbytes < _SMALL_BYTES
        rows = strip_rows(pixels) if wanted.name == "png" and not is_small else []
        saving = _Saving(path, pixels.shape, _chunks(texts) if rows else (), [None] * len(rows))
        if is_small:
            self._savings.append(saving)
            _encode_small(saving, pixels, texts, self._on_file)
            return
        path.write_bytes(b"")  # The name is taken. Where that cannot be, the node fails, and nobody waits for the file.
        self._savings.append(saving)
        try:
            if not rows:
                self._pool.submit(self._encode_lossy, saving, pixels, texts, wanted, self._on_file)
            for index, strip in enumerate(rows):
                self._pool.submit(self._encode_strip, saving, pixels, index, strip, self._on_file)
        except RuntimeError as error:  # No thread can be had.
            _fail(saving, error)

    def _encode_strip(self, saving: _Saving, pixels: Pixels, index: int, rows: range, on_file: OnFile | None) -> None:
        try:
            strip = encode_strip(pixels, rows)
            with saving.lock:
                saving.strips[index] = strip
                strips = [done for done in saving.strips if done is not None]
            if len(strips) == len(saving.strips):  # The last one writes the file.
                _write(saving, assemble(saving.shape, strips, saving.chunks), on_file)
        except BaseException as error:  # noqa: BLE001 - told by ``finish``.
            _fail(saving, error)

    def _encode_lossy(
        self,
        saving: _Saving,
        pixels: Pixels,
        texts: Mapping[str, str],
        wanted: ImageFormat,
        on_file: OnFile | None,
    ) -> None:
        try:
            image, exif = Image.fromarray(pixels), _exif(texts)
            try:
                content = encode_lossy(image, wanted, exif)
            except ValueError:
                if exif is None or len(exif.tobytes()) < _MAX_EXIF:
                    raise
                content = encode_lossy(image, wanted)  # The workflow is too long for this format.
            _write(saving, content, on_file)
        except BaseException as error:  # noqa: BLE001 - told by ``finish``.
            _fail(saving, error)


def _failures(savings: Iterable[_Saving]) -> list[SaveFailure]:
    failures = []
    for saving in savings:
        error = saving.done.exception()
        if error is not None:
            with contextlib.suppress(OSError, ValueError):  # It is not there; or no file can have this name.
                saving.path.unlink()
            failures.append(SaveFailure(saving.path, error if isinstance(error, Exception) else RuntimeError()))
    return failures


def _encode_small(saving: _Saving, pixels: Pixels, texts: Mapping[str, str], on_file: OnFile | None) -> None:
    """Pillow has done a small picture before the best filter for it is found, and before another thread begins."""
    try:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", pnginfo=_png_info(texts), compress_level=4)
        _write(saving, buffer.getvalue(), on_file)
    except Exception as error:  # noqa: BLE001 - told by ``finish``.
        _fail(saving, error)


def _others_run() -> bool:
    """Whether the executor has begun a node that awaits something."""
    try:
        return len(asyncio.all_tasks()) > 1
    except RuntimeError:  # No loop runs here: a node's own thread.
        return True


def to_pixels(image: np.ndarray[Any, Any]) -> Pixels:
    """``image`` (H×W×C, floats of 0 to 1) in whole numbers of 0 to 255, cut off as ComfyUI's SaveImage does."""
    pixels = np.empty(image.shape, np.uint8)
    scaled = np.empty((_ROWS_AT_ONCE, *image.shape[1:]), image.dtype)
    with np.errstate(invalid="ignore"):  # NaN becomes what the processor makes of it, as there.
        for start in range(0, image.shape[0], _ROWS_AT_ONCE):
            rows = image[start : start + _ROWS_AT_ONCE]
            part = scaled[: len(rows)]
            np.multiply(rows, 255.0, out=part)
            np.clip(part, 0, 255, out=part)
            pixels[start : start + len(rows)] = part
    return pixels


def _write(saving: _Saving, content: bytes, on_file: OnFile | None) -> None:
    saving.path.write_bytes(content)
    if on_file is not None:
        on_file(saving.path)
    saving.done.set_result(None)


def _fail(saving: _Saving, error: BaseException) -> None:
    with saving.lock:
        if not saving.done.done():
            saving.done.set_exception(error)


def _texts(prompt: Any, extra_pnginfo: Mapping[str, Any] | None) -> dict[str, str]:
    given = {} if prompt is None else {"prompt": prompt}
    return {key: json.dumps(value) for key, value in {**given, **(extra_pnginfo or {})}.items()}


def _chunks(texts: Mapping[str, str]) -> tuple[Chunk, ...]:
    return tuple((kind, data) for kind, data, *_ in _png_info(texts).chunks)


def _png_info(texts: Mapping[str, str]) -> PngInfo:
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    return info


def _exif(texts: Mapping[str, str]) -> Image.Exif | None:
    if not texts:
        return None
    exif = Image.Exif()
    tag = _EXIF_REST
    for key, text in texts.items():
        if key == "prompt":
            exif[_EXIF_PROMPT] = f"prompt:{text}"
        else:
            exif[tag] = f"{key}:{text}"
            tag -= 1
    return exif
