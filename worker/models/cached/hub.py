"""Finds model files in a cache of Hugging Face's layout, and says which model folder each belongs in.

::

    hub/models--ORG--NAME/refs/main                        the commit that counts
    hub/models--ORG--NAME/snapshots/COMMIT/a.safetensors   a link to a file in blobs/
    hub/models--ORG--NAME/blobs/
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from worker.models.cached.header import kind_of
from worker.models.references import MODEL_ENDINGS, CachedFile, ModelFolder, files_below

HUB = PurePosixPath("huggingface-cache/hub")
"""Where RunPod puts it, on what is mounted as the network volume."""
_REPOSITORY = re.compile(r"models--([^/]+?)--([^/]+)")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.\w+$")
_READABLE = (".safetensors", ".sft", ".gguf")
_OTHER_NAMES = {"unet": "diffusion_models", "clip": "text_encoders", "vaes": "vae", "lora": "loras",
                "controlnets": "controlnet", "text_encoder": "text_encoders", "checkpoint": "checkpoints"}  # fmt: skip
_DIFFUSERS = "ComfyUI does not load files of the diffusers layout: use a repository with single files"


def cached_files(hub: Path, folders: Sequence[ModelFolder]) -> list[CachedFile]:
    """The model files below ``hub``, which need not be there. Names are different for each folder. Raises nothing.

    ``folders``: ComfyUI's model folders.
    """
    found: list[CachedFile] = []
    taken: set[tuple[str, str]] = set()
    with contextlib.suppress(OSError):
        for repository in sorted(hub.glob("models--*--*")):
            with contextlib.suppress(OSError):
                for file in _of_repository(repository, folders):
                    name = file.name
                    if file.folder is not None and (file.folder, name) in taken:
                        name = f"{file.repository.rpartition('/')[2]}/{file.inside}"
                    taken.add((file.folder or "", name))
                    found.append(replace(file, name=name))
    return found


def _of_repository(root: Path, folders: Sequence[ModelFolder]) -> Iterator[CachedFile]:
    named, snapshot = _REPOSITORY.fullmatch(root.name), _snapshot(root)
    if named is None or snapshot is None:
        return
    is_diffusers = (snapshot / "model_index.json").exists()
    for path in files_below(snapshot):
        inside = path.relative_to(snapshot)
        if path.suffix.lower() not in MODEL_ENDINGS:
            continue
        folder, remark = _placed(path, inside, root, folders, is_diffusers=is_diffusers)
        yield CachedFile(path, f"{named[1]}/{named[2]}", snapshot.name, str(inside), folder, path.name, remark)


def _snapshot(root: Path) -> Path | None:
    """The revision that counts: what ``main`` stands for, else the newest."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        commit = (root / "refs" / "main").read_text(encoding="ascii").strip()
        if re.fullmatch(r"[0-9a-f]{7,64}", commit) and (root / "snapshots" / commit).is_dir():
            return root / "snapshots" / commit
    found = [path for path in root.glob("snapshots/*") if path.is_dir() and not path.is_symlink()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _placed(
    path: Path, inside: Path, root: Path, folders: Sequence[ModelFolder], *, is_diffusers: bool
) -> tuple[str | None, str]:
    """The folder of a file, and how that was found; None, and why it cannot be used."""
    if not _stays_inside(path, root):
        return None, "it is a link that leads out of its repository, or nowhere"
    if is_diffusers and len(inside.parts) > 1:
        return None, _DIFFUSERS
    if _SHARD.search(path.name):
        return None, "it is one part of a model in several files, which ComfyUI does not load"
    by_name = {name: folder for folder in folders for name in (folder.name, *(each.name for each in folder.paths))}
    for part in reversed(inside.parts[:-1]):
        folder = by_name.get(part) or by_name.get(_OTHER_NAMES.get(part, ""))
        if folder is not None and folder.lists(path):
            return folder.name, f"by its folder {part}"
    if path.suffix.lower() not in _READABLE:
        return None, f"nothing tells what kind of model it is: link it into models/KIND of the volume as {path.name}"
    kind = kind_of(path)
    folder = by_name.get(kind or "")
    if folder is None:
        return None, "its header does not tell what kind of model it is: link it into models/KIND of the volume"
    return folder.name, "by its header"


def _stays_inside(path: Path, root: Path) -> bool:
    """Whether a file of a snapshot is a file of its repository: in ``blobs/``, or in the snapshot itself."""
    real, inside = os.path.realpath(path), os.path.realpath(root)
    return os.path.isfile(real) and (  # noqa: PTH113
        real.startswith((f"{inside}/blobs/", f"{inside}/snapshots/"))
    )
