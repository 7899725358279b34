"""Makes SaveImage return early: it copies its images, and threads encode them while further nodes run.

Only ComfyUI's own ``SaveImage`` into the output folder is taken over, and only for images as ComfyUI documents them.
Subclasses (PreviewImage, those of node packs), other folders and unusual tensors use ComfyUI's own code.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from worker.embedded import versions
from worker.embedded.files.job_files import JobFiles
from worker.images.formats import PNG
from worker.images.png import Pixels
from worker.images.webp_jpeg import fits

_ROWS_AT_ONCE = 64  # So many rows fit into a core's cache.


def take_over_save_image(main: Any, output: Path, current: Callable[[], JobFiles | None]) -> None:
    """Let ``SaveImage`` hand its images to the job that runs.

    Args:
        main: ComfyUI's ``main`` module.
        output: ComfyUI's output folder.
        current: returns the files of the job that runs; None between jobs.
    """
    save_image, tensor = main.nodes.SaveImage, importlib.import_module("torch").Tensor
    stock = save_image.save_images

    @functools.wraps(stock)
    def save_images(node: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        files = current()
        if files is not None and type(node) is save_image and _is_stock(node, output) and _is_image(images, tensor):
            return _save(main, files, node, images, *args, **kwargs)
        return stock(node, images, *args, **kwargs)

    save_image.save_images = save_images


@contextmanager
def metadata_of_job(args: Any, *, writes: bool) -> Iterator[None]:
    """Within this context, nodes write the graph into image files, or do not. ``args``: ComfyUI's flags."""
    at_start = args.disable_metadata
    args.disable_metadata = not writes
    try:
        yield
    finally:
        args.disable_metadata = at_start


def _is_stock(node: Any, output: Path) -> bool:
    """Whether this node still saves in ComfyUI's own way: no code has changed its attributes."""
    return bool(vars(node) == {"output_dir": f"{output}", "type": "output", "prefix_append": "", "compress_level": 4})


def _is_image(images: Any, tensor: Any) -> bool:
    return (
        isinstance(images, tensor)
        and images.ndim == 4
        and min(images.shape[:3]) > 0
        and images.shape[3] in (3, 4)
        and images.is_floating_point()
    )


def _save(
    main: Any,
    files: JobFiles,
    node: Any,
    images: Any,
    filename_prefix: str = "ComfyUI",
    prompt: Any = None,
    extra_pnginfo: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    height, width = images.shape[1:3]
    folder, name, counter, subfolder, _ = main.folder_paths.get_save_image_path(
        filename_prefix, node.output_dir, width, height
    )
    texts = {} if main.args.disable_metadata else files.images.texts(prompt, extra_pnginfo)
    entries, gives_size = [], versions.reads_saved_media(main)
    for index, image in enumerate(images):
        numbered = name.replace("%batch_num%", str(index))
        pixels = to_pixels(image.cpu().numpy())
        wanted = files.image_format if fits(pixels, files.image_format) else PNG
        filename = f"{numbered}_{counter + index:05}_{wanted.suffix}"
        files.images.add(Path(folder, filename), pixels, texts, wanted)
        entry = {"filename": filename, "subfolder": subfolder, "type": "output"}
        # ComfyUI leaves an entry alone that has this already. Otherwise it would open the file, which is still empty.
        media = {"metadata": {"kind": "image", "width": width, "height": height}} if gives_size else {}
        entries.append(entry | media)
    # If another node calls this one, or another node is running, that node may read the files. So wait for them.
    if not files.runs_save_image or _others_run() or versions.has_assets(main):
        for entry, path in zip(entries, files.images.complete(len(entries)), strict=True):
            entry["filename"] = path.name
    answer: dict[str, Any] = {"ui": {"images": entries}}
    return {**answer, "result": (images,)} if versions.hands_images_on(node) else answer


def _others_run() -> bool:
    """Whether the executor has begun a node that awaits something."""
    try:
        return len(asyncio.all_tasks()) > 1
    except RuntimeError:  # There is no loop, since a node calls this on a thread of its own.
        return True


def to_pixels(image: np.ndarray[Any, Any]) -> Pixels:
    """``image`` (H×W×C, floats from 0 to 1) as whole numbers from 0 to 255, rounded down as in ComfyUI's SaveImage."""
    pixels = np.empty(image.shape, np.uint8)
    scaled = np.empty((_ROWS_AT_ONCE, *image.shape[1:]), image.dtype)
    with np.errstate(invalid="ignore"):  # The result for NaN depends on the processor, as in ComfyUI.
        for start in range(0, image.shape[0], _ROWS_AT_ONCE):
            rows = image[start : start + _ROWS_AT_ONCE]
            part = scaled[: len(rows)]
            np.multiply(rows, 255.0, out=part)
            np.clip(part, 0, 255, out=part)
            pixels[start : start + len(rows)] = part
    return pixels
