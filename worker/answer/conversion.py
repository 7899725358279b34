"""Converts a job's still PNGs to the format that the job wants. A picture that cannot be converted stays as it is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from worker.answer.result import Artifact
from worker.images.formats import ImageFormat
from worker.images.webp_jpeg import Unfit, encode_webp_jpeg
from worker.redact import encodable

_Names = set[tuple[str, str]]


def convert(artifacts: Sequence[Artifact], wanted: ImageFormat, warnings: list[str]) -> list[Artifact]:
    """``artifacts``, with the still PNGs under ``images`` as ``wanted``.

    ``warnings`` gets a line for each one that stays a PNG. A picture is there, so none of them is an error.
    """
    names = {(artifact.subfolder, artifact.filename.lower()) for artifact in artifacts}
    return [_converted(artifact, wanted, names, warnings) for artifact in artifacts]


def _converted(artifact: Artifact, wanted: ImageFormat, names: _Names, warnings: list[str]) -> Artifact:
    if wanted.name == "png" or artifact.key != "images" or artifact.media_type != "image/png":
        return artifact
    try:
        content = artifact.read()
    except OSError:  # The error is told when the file should be sent.
        return artifact
    name = encodable(artifact.filename)
    try:
        image = _still(content)
    except Exception as error:  # noqa: BLE001 - Pillow may raise anything for a file that is no picture.
        warnings.append(f"{name} is sent as it is: it is no picture ({type(error).__name__})")
        return artifact
    if image is None:
        return artifact
    try:
        return _written(artifact, encode_webp_jpeg(image, wanted), wanted, names)
    except Unfit as error:
        reason = str(error)
    except OSError as error:
        reason = f"{wanted.shown} cannot be written ({error.strerror or type(error).__name__})"
    except Exception as error:  # noqa: BLE001 - such as a picture that is too complex for WebP.
        reason = f"{wanted.shown} cannot be made of it ({type(error).__name__})"
    warnings.append(f"{name} is sent as PNG: {reason}")
    return artifact


def _still(content: bytes) -> Image.Image | None:
    """The picture in ``content``, decoded; None if it is animated."""
    image = Image.open(io.BytesIO(content))
    if getattr(image, "n_frames", 1) > 1:
        return None
    image.load()
    return image


def _written(artifact: Artifact, content: bytes, wanted: ImageFormat, names: _Names) -> Artifact:
    filename = _free_name(artifact, wanted, names)
    path = artifact.path.with_name(filename)
    path.write_bytes(content)
    return replace(artifact, filename=filename, media_type=wanted.media_type, path=path)


def _free_name(artifact: Artifact, wanted: ImageFormat, names: _Names) -> str:
    """The file's name with the format's ending, and with a number if another file has that name."""
    stem, count = Path(artifact.filename).stem, 1
    filename = stem + wanted.suffix
    while (artifact.subfolder, filename.lower()) in names:
        count += 1
        filename = f"{stem}-{count}{wanted.suffix}"
    names.add((artifact.subfolder, filename.lower()))
    return filename
