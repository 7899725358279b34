"""Lets the libraries that read media open a file only as what it is, and no file that names further files.

ComfyUI and packs give files of callers to FFmpeg (through PyAV) and to Pillow. Both guess what a file is, each in its
own way: a file that is a picture to one may be a playlist to the other, which opens files anywhere on the machine. So
their ``open`` goes by the table that staging goes by. Writing is not touched. A file outside ComfyUI's folders, such as
one that a pack brings along, is opened as before, but neither as a playlist nor from the network.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from worker.engine.workspace import StateFolder
from worker.job.files.content import TooManyPixels, identify
from worker.job.files.formats import all_demuxers, demuxers_for, is_raw_sound, picture_formats

_ARGUMENTS = (  # Of PyAV's open, after the file and the mode.
    "format", "options", "container_options", "stream_options", "metadata_encoding", "metadata_errors", "buffer_size",
    "timeout", "io_open", "hwaccel",
)  # fmt: skip
_OTHER_NAMES = {**dict.fromkeys(("mp4", "m4a", "3gp", "3g2", "mj2"), "mov"), "webm": "matroska"}  # Of demuxers.
_URL = re.compile(r"[A-Za-z0-9+.-]+:|subfile,", re.ASCII)  # What FFmpeg takes for a URL and not for a path.


def guard_readers(state: StateFolder) -> None:
    """Replace the ``open`` of PyAV and of Pillow, and the ``load_file`` of safetensors, before packs are loaded."""
    places = _Places(state)
    _guard_pillow(places)
    _guard_av(places)
    _guard_latents(places)


class _Places:
    """Tells where a path leads: into ComfyUI's input folder, into another one of its folders, or elsewhere."""

    def __init__(self, state: StateFolder) -> None:
        self._root, self._input = (os.path.realpath(path) + "/" for path in (state.root, state.input))

    def is_ours(self, path: Any) -> bool:
        return self._real(path).startswith(self._root)

    def is_input(self, path: Any) -> bool:
        """Whether it is a file that the job brought along. A link to a static file leads elsewhere."""
        return self._real(path).startswith(self._input)

    def _real(self, path: Any) -> str:
        try:
            return os.path.realpath(os.fsdecode(path))
        except ValueError:  # A NUL in the name.
            return ""


def _guard_pillow(places: _Places) -> None:
    from PIL import Image

    original = Image.open

    @functools.wraps(original)
    def open_known(fp: Any, mode: Any = "r", formats: Any = None) -> Any:
        if isinstance(fp, str | bytes | os.PathLike) and not places.is_ours(fp):
            return original(fp, mode, formats)
        known = picture_formats()
        return original(fp, mode, known if formats is None else [name for name in formats if name.upper() in known])

    Image.open = open_known


def _guard_av(places: _Places) -> None:
    try:
        av: Any = importlib.import_module("av")
    except ImportError:  # An early ComfyUI does without.
        return
    original = av.open

    @functools.wraps(original)
    def open_known(file: Any, mode: Any = None, *args: Any, **options: Any) -> Any:
        options |= zip(_ARGUMENTS, args, strict=False)
        is_path = isinstance(file, str | Path)
        if (mode or (not is_path and getattr(file, "mode", None)) or "r").startswith("r"):
            wanted = options.get("format")
            demuxer, limits = _of_path(av, str(file), wanted, places) if is_path else _of_object(av, file, wanted)
            limits = {**(options.get("container_options") or {}), **limits}
            options |= {"format": demuxer, "container_options": limits}
        return original(file, mode, **options)

    for module in (av, av.container, av.container.core):
        module.open = open_known


def _of_path(av: Any, text: str, wanted: str | None, places: _Places) -> tuple[str | None, dict[str, str]]:
    """The format and the options with which the file of this path is opened."""
    path = text.removeprefix("file:")
    if _URL.match(path):
        raise _refusal(av, f"{path[:80]!r} is no file: videos and sounds are read from files only")
    protocols = {"protocol_whitelist": "file"}
    if places.is_ours(path):
        demuxers: tuple[str, ...] = ()
        if Path(path).is_file():
            with Path(path).open("rb") as file:
                demuxers = demuxers_for(file)
        if demuxers or places.is_input(path):
            return _limited(av, os.path.basename(path), demuxers, wanted, protocols)  # noqa: PTH119
    elif wanted is not None:
        return wanted, protocols  # A pack's own file, or a device.
    return _limited(av, os.path.basename(path), all_demuxers(), wanted, protocols)  # noqa: PTH119


def _of_object(av: Any, file: Any, wanted: str | None) -> tuple[str | None, dict[str, str]]:
    """The same for a file object, from which FFmpeg may reach no file at all."""
    protocols = {"protocol_whitelist": "none"}
    if wanted is not None and is_raw_sound(wanted.partition(":")[0]):
        return wanted, protocols
    demuxers = all_demuxers()
    try:
        if file.tell() == 0:
            demuxers = demuxers_for(file)
            file.seek(0)
    except (AttributeError, OSError, ValueError):  # It cannot seek, and FFmpeg looks at it as it comes.
        pass
    return _limited(av, "the file", demuxers, wanted, protocols)


def _limited(
    av: Any, name: str, demuxers: tuple[str, ...], wanted: str | None, options: dict[str, str]
) -> tuple[str | None, dict[str, str]]:
    """Open with one of ``demuxers`` only: with the one that there is, or with the one of them that FFmpeg finds."""
    if not demuxers:
        raise _refusal(av, f"{name} is no video and no sound")
    if wanted is not None:
        demuxer = wanted.partition(":")[0]
        if _OTHER_NAMES.get(demuxer, demuxer) not in demuxers:
            raise _refusal(av, f"{name} is not of the format {wanted!r}")
        return wanted, options
    if len(demuxers) == 1:
        return demuxers[0], options
    return None, {**options, "format_whitelist": ",".join(demuxers)}


def _refusal(av: Any, text: str) -> Exception:
    """What PyAV raises for a file that it cannot read, so that packs handle it as that."""
    error: Exception = av.error.InvalidDataError(None, text)
    return error


def _guard_latents(places: _Places) -> None:
    torch_files: Any = importlib.import_module("safetensors.torch")
    original = torch_files.load_file

    @functools.wraps(original)
    def load_known(filename: Any, *args: Any, **kwargs: Any) -> Any:
        path = Path(os.fsdecode(filename))
        if places.is_input(path) and path.is_file() and not _is_latent(path):
            raise ValueError(f"{path.name} is no latent")
        return original(filename, *args, **kwargs)

    torch_files.load_file = load_known


def _is_latent(path: Path) -> bool:
    try:
        content = identify(path.read_bytes(), sys.maxsize)
    except TooManyPixels:
        return False
    return content is not None and content.media_type == "application/x-latent"
